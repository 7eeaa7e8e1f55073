"""The judge of the chaos tests finds what is wrong, and nothing else."""

import time
from collections.abc import Callable

import pytest

from tests.chaos.ledger import Ledger, Track


def follow(track: Track, *numbers: int, user: str = "u") -> None:
    for number in numbers:
        track.event(user, number)


@pytest.fixture
def ledger() -> Ledger:
    """Five events for ``u`` have been begun, none for anybody else."""
    ledger = Ledger()
    for _ in range(5):
        ledger.begin("u")
    return ledger


@pytest.fixture
def track(ledger: Ledger) -> Track:
    """A client that connected before the third of them."""
    track = Track(ledger, "u")
    ledger.begun["u"] = 2
    track.opened()
    ledger.begun["u"] = 5
    return track


def test_every_event_once_in_order_is_right(track: Track) -> None:
    follow(track, 2, 3, 4)
    assert not track.violations
    assert track.complete()


def test_a_client_may_get_what_was_under_way_when_it_connected(track: Track) -> None:
    follow(track, 1, 2, 3, 4)
    assert not track.violations


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda track: follow(track, 3), "began u at 3, connected at 2"),
        (lambda track: follow(track, 2, 4), "events 3 to 3 of u are missing"),
        (lambda track: follow(track, 2, 2), "event 2 of u again, after 2"),
        (lambda track: follow(track, 2, 3, 2), "event 2 of u again, after 3"),
        (lambda track: follow(track, 0, user="v"), "event 0 of v, who is somebody else"),
    ],
)
def test_a_violation_is_named(track: Track, wrong: Callable[[Track], None], says: str) -> None:
    wrong(track)
    assert track.violations == [f"u: {says}"]


def test_an_event_that_was_told_as_a_gap_may_be_missing_once(track: Track) -> None:
    follow(track, 2)
    track.gap("trimmed")
    follow(track, 4)
    assert (track.violations, track.missing, track.gaps["trimmed"]) == ([], 1, 1)
    follow(track, 6)
    assert len(track.violations) == 1


def test_a_gap_does_not_excuse_an_event_that_comes_again(track: Track) -> None:
    follow(track, 2, 3)
    track.gap("lost")
    follow(track, 3)
    assert track.violations


def test_a_track_without_every_event_is_not_complete(track: Track) -> None:
    follow(track, 2, 3)
    assert not track.complete()
    assert track.lacks() == "u: at 4 of 5, *: at None of 0"


# --- while events may be lost ---------------------------------------------------------------------

AT = 1000  # the position of event 0, where nothing was lost


def judged(track: Track, *there: int) -> list[str]:
    """What is wrong, where these are the events that are in the inbox in the end."""
    track.judge({"u": {number: AT + number for number in there}, "*": {}})
    return track.violations


@pytest.fixture
def doubtful(ledger: Ledger, track: Track) -> Track:
    """The same client at a node, while Redis may lose what it has acknowledged."""
    ledger.loses = True
    track.connected("node")
    return track


def test_what_is_there_and_was_neither_seen_nor_told_is_wrong(doubtful: Track) -> None:
    follow(doubtful, 2, 4)
    assert judged(doubtful, 2, 3, 4) == ["u: event 3 of u is missing"]


def test_what_is_told_later_is_right(doubtful: Track) -> None:
    """A node that was with a master that was replaced finds out when it leaves that."""
    follow(doubtful, 2, 4)
    doubtful.gap("lost")
    assert judged(doubtful, 2, 3, 4) == []
    assert doubtful.missing == 1


def test_what_its_node_knew_and_is_lost_has_to_be_told(ledger: Ledger, doubtful: Track) -> None:
    ledger.knows("node", "u", 3)
    follow(doubtful, 2, 4)
    assert judged(doubtful, 2, 4) == ["u: event 3 of u was lost, which node knew: untold"]


@pytest.mark.parametrize(("seconds", "right"), [(0.2, False), (0.0, True)])
def test_what_its_node_knew_was_told_if_there_was_a_gap_since(
    ledger: Ledger, doubtful: Track, seconds: float, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of another master may come between, whose position is a later one."""
    doubtful.gap("lost")
    now = time.monotonic() + seconds
    monkeypatch.setattr("tests.chaos.ledger.time.monotonic", lambda: now)
    ledger.knows("node", "u", 3)
    follow(doubtful, 2, 4)
    assert (judged(doubtful, 2, 4) == []) is right


def test_what_nobody_knew_or_a_node_that_it_was_not_at_is_counted(
    ledger: Ledger, doubtful: Track
) -> None:
    ledger.knows("another node", "u", 3)
    ledger.knows("node", "u", 3)
    doubtful.connected("node")
    follow(doubtful, 2, 4)
    assert judged(doubtful, 2, 4) == []
    assert doubtful.unknowable == 1


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("position", "there", "right"),
    [
        (2 * AT, (2,), True),  # the first one was lost, and it was stored again
        (2 * AT, (2, 3), True),  # the second one is where the client was for a while
        (AT + 3, (2, 3), False),
    ],
)
def test_an_event_may_come_again_after_a_gap_from_another_master(
    doubtful: Track, told: bool, position: int, there: tuple[int, ...], right: bool
) -> None:
    for number in (2, 3):
        doubtful.event("u", number, AT + number)
    if told:
        doubtful.gap("lost")
    doubtful.event("u", 3, position)
    assert (judged(doubtful, *there) == []) is (told and right)


def test_events_may_come_again_after_a_gap_where_a_replaced_master_became_it_again(
    ledger: Ledger, doubtful: Track
) -> None:
    ledger.reverts = True
    for number in (2, 3):
        doubtful.event("u", number, AT + number)
    doubtful.gap("lost")
    doubtful.event("u", 3, AT + 3)
    assert judged(doubtful, 2, 3) == []


@pytest.mark.parametrize(("then", "right"), [("node", False), ("another node", True)])
def test_an_event_may_come_again_after_a_gap_from_a_node_that_was_with_another_master(
    doubtful: Track, then: str, right: bool
) -> None:
    doubtful.connected("node")
    for number in (2, 3):
        doubtful.event("u", number, AT + number)
    doubtful.connected(then)
    doubtful.gap("lost")
    doubtful.event("u", 3, AT + 3)
    assert (judged(doubtful, 2, 3) == []) is right
