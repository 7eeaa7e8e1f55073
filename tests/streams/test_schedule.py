"""The moments of many streams: the soonest first, and nothing left of those that count no more."""

import random

from aionotify.streams.schedule import Schedule


def test_the_soonest_is_taken_first_and_only_when_it_is_due() -> None:
    schedule = Schedule()
    for number, moment in enumerate([3.0, 1.0, 2.0]):
        schedule.put(number, moment)
    assert schedule.soonest() == 1.0
    assert schedule.take(0.5) is None
    assert [schedule.take(2.0), schedule.take(2.0), schedule.take(2.0)] == [1, 2, None]
    assert schedule.items() == [(0, 3.0)]


def test_the_last_moment_given_to_a_number_counts() -> None:
    schedule = Schedule()
    for moment in (2.0, 5.0, 1.0, 4.0):
        schedule.put(7, moment)
    assert schedule.take(3.9) is None
    assert schedule.take(4.0) == 7
    assert schedule.take(9.0) is None
    assert schedule.soonest() is None


def test_nothing_is_due_about_a_number_that_was_discarded() -> None:
    schedule = Schedule()
    schedule.put(1, 1.0)
    schedule.put(2, 2.0)
    schedule.discard(1)
    schedule.discard(3)
    assert (schedule.soonest(), len(schedule)) == (2.0, 1)


def test_moments_that_change_over_and_over_leave_nothing_behind() -> None:
    schedule = Schedule()
    for number in range(10):
        schedule.put(number, 0.0)
    for _ in range(10_000):
        schedule.put(random.randrange(10), random.random())
    assert len(schedule) == 10
    assert len(schedule._heap) < 100
    for number in range(9):
        schedule.discard(number)
    assert schedule.take(1.0) == 9
