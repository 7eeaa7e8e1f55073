"""``aionotify demo --check`` is able to fail, for each thing that it looks at."""

from collections.abc import Sequence

import pytest

from aionotify import Config
from aionotify.demo import check, ways
from aionotify.demo.check import run
from aionotify.demo.report import AUDIENCE, MISSED, Arrival, Delivery, Report
from aionotify.demo.ways import Event, NotPublished, Way
from aionotify.demo.world import Ports, World

PUBLISH, OBJECT = ways.WAYS[:2]


async def no_event(world: World, events: Sequence[Event]) -> None:
    """Says that all is well."""


async def not_to_bob(world: World, events: Sequence[Event]) -> None:
    await ways.redis_publish(world, [e for e in events if e["recipient_id"] != "bob"])


async def twice(world: World, events: Sequence[Event]) -> None:
    await ways.http_array(world, [*events, *events])


async def to_everyone(world: World, events: Sequence[Event]) -> None:
    await ways.http_array(world, [event | {"recipient_id": "*"} for event in events])


async def refused(world: World, events: Sequence[Event]) -> None:
    raise NotPublished("no right to")


async def test_check_has_nothing_to_say_against_ways_that_work(world: World) -> None:
    report = await check.check(world, (PUBLISH, OBJECT))
    assert report.problems == []
    assert [each.users for each in report.deliveries] == [
        list(each) for each in AUDIENCE.values()
    ] * 2
    assert tuple(report.resumed) == MISSED


@pytest.mark.parametrize(
    ("way", "problem"),
    [
        (
            Way("mute", True, no_event),
            "mute, to alice: expected alice (durable, names alice); got",
        ),
        (
            Way("lossy", False, not_to_bob),
            "lossy, to bob: expected bob (ephemeral, names bob); got",
        ),
        (Way("double", True, twice), "got: alice (durable, names alice), alice (durable"),
        (Way("loud", True, to_everyone), "got: alice (durable, names *), bob (durable, names *)"),
        (Way("forgetful", True, ways.redis_publish), "got: alice (ephemeral, names alice)"),
        (Way("clinging", False, ways.http_object), "got: alice (durable, names alice)"),
        (Way("refused", True, refused), "refused: no right to"),
    ],
    ids=lambda value: value.name if isinstance(value, Way) else "",
)
async def test_check_finds_a_way_that_does_not_do_what_it_says(
    way: Way, problem: str, world: World
) -> None:
    report = await check.check(world, (way,), within=1)
    assert any(problem in each for each in report.problems), report.problems
    assert report.resume_ok


async def test_check_fails_when_somebody_else_gets_what_is_for_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A main host that takes bob's token for alice's: his stream is hers."""
    users = {"alice-token": "alice", "bob-token": "alice"}
    assert await run(Config(), Ports(0, 0, 0), users, (PUBLISH,), within=1) == 1
    printed = capsys.readouterr().out
    assert "✗ alice, bob" in printed
    assert "Redis PUBLISH, to alice: expected alice (ephemeral, names alice); got: " in printed


async def test_check_fails_when_a_stream_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    users = {"alice-token": "alice"}
    assert await run(Config(), Ports(0, 0, 0), users, (PUBLISH,), within=1) == 1
    assert "the stream of bob: the server answered 401" in capsys.readouterr().out


@pytest.mark.parametrize(
    "resumed", [(), MISSED[:2], MISSED[::-1], (*MISSED, MISSED[0]), (*MISSED, "an ephemeral one")]
)
def test_check_fails_when_what_was_missed_is_not_all_of_it_once_and_in_order(
    resumed: Sequence[str],
) -> None:
    report = Report([], resumed, [])
    assert not report.resume_ok
    assert len(report.problems) == 1


def test_check_fails_when_a_list_shows_one_receiver_another() -> None:
    arrivals = [
        Arrival(user, "Redis PUBLISH", "both", "alice", durable=False) for user in ("alice", "bob")
    ]
    assert not Delivery(PUBLISH, "both", arrivals).ok
