"""The table of what nodes that left have said: bounded, and no longer good than they said."""

import math
import secrets
from collections.abc import Iterable

import pytest

from aionotify.auth import handed_over
from aionotify.auth.handed_over import HandedOver, Moved
from aionotify.auth.vouched import Message, Vouched, seal
from tests.auth.helpers import Clock

LONGEST = 300.0
TOKEN = "alice-token"
SOURCE = secrets.token_bytes(16)


@pytest.fixture
def table(clock: Clock) -> HandedOver:
    return HandedOver(LONGEST, clock)


def vouched(
    user: str = "alice", age: float = 0, due: float = 200, until: float = math.inf
) -> Vouched:
    return Vouched(user, age, due, until)


def said(
    number: int,
    known: Iterable[tuple[str, Vouched]] = (),
    *,
    source: bytes = SOURCE,
    heard: int | None = None,
    hold: float = 60.0,
) -> Message:
    records = [seal(each, token, source, number) for token, each in known]
    return Message(source, number, number - 1 if heard is None else heard, hold, records)


def told(table: HandedOver, known: Vouched, hold: float = 60.0) -> None:
    """Have `table` hear of TOKEN from a node that has heard all there was."""
    table.take(said(0, hold=hold), 0)
    table.take(said(1, [(TOKEN, known)], hold=hold), 0)


def test_who_shows_a_token_finds_what_was_said_of_it(table: HandedOver, clock: Clock) -> None:
    told(table, vouched(age=50, due=200, until=3600))
    assert table.find(TOKEN) == Moved(
        "alice", 0, clock.now - 50, clock.now + 200, clock.now + 250, clock.now + 3600
    )
    assert table.find(TOKEN) is not None  # there may be several tabs
    assert table.find("bob-token") is None


def test_times_are_from_when_it_was_written(table: HandedOver, clock: Clock) -> None:
    """That may be long ago, when this node has started since."""
    table.take(said(0), 0, 40.0)
    table.take(said(1, [(TOKEN, vouched(age=50, due=200))]), 0, 40.0)
    moved = table.find(TOKEN)
    assert moved is not None
    assert (moved.answered, moved.due) == (clock.now - 90, clock.now + 160)


def test_no_answer_is_relied_upon_for_longer_than_it_may_be(
    table: HandedOver, clock: Clock
) -> None:
    told(table, vouched(age=250, due=math.inf), hold=math.inf)
    moved = table.find(TOKEN)
    assert moved is not None
    assert moved.latest == clock.now + 50
    clock.advance(LONGEST)
    assert table.find(TOKEN) is None
    assert len(table) == 0


def test_it_is_there_for_as_long_as_its_source_has_said(table: HandedOver, clock: Clock) -> None:
    told(table, vouched(), hold=60.0)
    clock.advance(59)
    assert table.find(TOKEN) is not None
    clock.advance(2)
    assert table.find(TOKEN) is None
    assert len(table) == 0


@pytest.mark.parametrize(
    "nonsense",
    [
        vouched(age=-1),
        vouched(age=math.nan),
        vouched(due=0),
        vouched(due=math.nan),
        vouched(until=0),
        vouched(until=math.nan),
    ],
)
def test_what_makes_no_sense_is_not_there(table: HandedOver, nonsense: Vouched) -> None:
    told(table, nonsense)
    assert table.find(TOKEN) is None


def test_a_record_under_the_name_of_another_is_of_no_use(table: HandedOver) -> None:
    told(table, vouched())
    mallory = seal(vouched("mallory"), "mallory-token", SOURCE, 2)
    table.take(
        Message(
            SOURCE, 2, 1, 60.0, [mallory._replace(name=seal(vouched(), TOKEN, SOURCE, 2).name)]
        ),
        0,
    )
    assert table.find(TOKEN) is None
    assert table.find("mallory-token") is None


def test_of_several_the_last_counts(table: HandedOver, clock: Clock) -> None:
    """As when a stream moves from one node to the next, and on."""
    other = secrets.token_bytes(16)
    told(table, vouched(due=200))
    clock.advance(1)
    table.take(said(0, source=other), 0)
    table.take(said(1, [(TOKEN, vouched(due=100))], source=other), 0)
    moved = table.find(TOKEN)
    assert moved is not None
    assert moved.due == clock.now + 100
    clock.advance(1)
    table.take(said(2, [(TOKEN, vouched(due=50))]), 0)
    moved = table.find(TOKEN)
    assert moved is not None
    assert moved.due == clock.now + 50


def test_what_is_voided_is_gone_whoever_has_said_it(table: HandedOver) -> None:
    other = secrets.token_bytes(16)
    for source in (SOURCE, other):
        table.take(said(0, source=source), 0)
        table.take(said(1, [(TOKEN, vouched()), ("bob-token", vouched("bob"))], source=source), 0)
    table.void(TOKEN)
    assert table.find(TOKEN) is None
    assert table.find("bob-token") is not None


# What the source had heard of revocations


def test_it_is_learned_when_the_source_had_last_heard_itself(table: HandedOver) -> None:
    """Who is revoked after that may not have been known there, so they count as revoked since."""
    table.take(said(0), 3)
    table.take(said(1), 5)
    table.take(said(2, [(TOKEN, vouched())], heard=0), 7)
    moved = table.find(TOKEN)
    assert moved is not None
    assert moved.learned == 3


@pytest.mark.parametrize("heard", [-1, 1, 2, 7])
def test_without_knowing_what_the_source_had_heard_nothing_is_relied_upon(
    table: HandedOver, heard: int
) -> None:
    """Be it that we were not there, or that it says it has heard what it has not said."""
    table.take(said(0), 0)
    table.take(said(2, [(TOKEN, vouched())], heard=heard), 0)
    assert table.find(TOKEN) is None


def test_a_message_that_is_heard_again_is_no_newer_for_that(table: HandedOver) -> None:
    table.take(said(0), 3)
    table.take(said(0), 9)
    table.take(said(1, [(TOKEN, vouched())]), 9)
    moved = table.find(TOKEN)
    assert moved is not None
    assert moved.learned == 3


# Bounds


def test_there_are_only_so_many_records(table: HandedOver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handed_over, "MAX_RECORDS", 100)
    table.take(said(0), 0)
    for number in range(1, 10):
        table.take(said(number, [(f"token-{number}-{n}", vouched()) for n in range(30)]), 0)
    assert len(table) == 100
    assert table.find("token-1-0") is not None
    assert table.find("token-9-29") is None


def test_there_are_only_so_many_sources(table: HandedOver) -> None:
    for _ in range(10 * handed_over.MAX_SOURCES):
        source = secrets.token_bytes(16)
        table.take(said(0, source=source), 0)
        table.take(said(1, [(TOKEN, vouched())], source=source), 0)
    assert len(table) <= handed_over.MAX_SOURCES + 1
    assert table.find(TOKEN) is not None


def test_a_source_that_says_no_end_of_messages_is_remembered_by_its_last(
    table: HandedOver,
) -> None:
    for number in range(10_000):
        table.take(said(number), 0)
    (source,) = table._sources.values()
    assert len(source.marks) < 1000
    table.take(said(10_000, [(TOKEN, vouched())]), 0)
    assert table.find(TOKEN) is not None
