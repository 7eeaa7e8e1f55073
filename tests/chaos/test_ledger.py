"""The judge of the chaos tests finds what is wrong, and nothing else."""

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
