"""When somebody who fails is left alone, and for how long."""

import pytest

from aionotify.auth.main_host.breaker import FIRST_PAUSE, LONGEST_PAUSE, THRESHOLD, Breaker
from tests.auth.helpers import Clock


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.report(success=False)


def test_it_opens_after_five_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, THRESHOLD - 1)
    assert breaker.admit()
    breaker.report(success=True)
    fail(breaker, THRESHOLD - 1)
    assert not breaker.blocks()
    fail(breaker)
    assert breaker.blocks()
    assert not breaker.admit()


def test_after_the_pause_it_lets_one_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, THRESHOLD)
    assert FIRST_PAUSE / 2 <= breaker.remaining <= FIRST_PAUSE
    clock.advance(FIRST_PAUSE)
    assert breaker.admit()
    assert not breaker.admit()


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, THRESHOLD)
    clock.advance(FIRST_PAUSE)
    assert breaker.admit()
    breaker.report(success=True)
    assert not breaker.is_open
    fail(breaker, THRESHOLD - 1)
    assert breaker.admit()


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, THRESHOLD)
    for turn in range(1, 12):
        clock.advance(LONGEST_PAUSE)
        fail(breaker)
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**turn)
        assert longest / 2 <= breaker.remaining <= longest


def test_a_call_from_before_it_opened_changes_nothing_by_failing(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(2 * THRESHOLD):
        assert breaker.admit()
    for _ in range(THRESHOLD):
        breaker.report(success=False)
    remaining = breaker.remaining
    for _ in range(THRESHOLD):
        breaker.report(success=False)
    assert breaker.remaining == remaining


def test_a_call_from_before_it_opened_closes_it_by_succeeding(breaker: Breaker) -> None:
    assert breaker.admit()
    fail(breaker, THRESHOLD)
    breaker.report(success=True)
    assert breaker.admit()
