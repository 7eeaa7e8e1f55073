"""Patience: many wait, and one timer sees to it that none waits for too long."""

import asyncio

import pytest

from aionotify.streams.deadlines import Deadlines
from tests.harness import eventually


def loop_time() -> float:
    return asyncio.get_running_loop().time()


async def test_what_comes_in_time_is_passed_on() -> None:
    """A result or an error, there already or later."""
    deadlines = Deadlines(60)
    waited: list[asyncio.Future[int]] = [asyncio.Future() for _ in range(4)]
    waited[0].set_result(1)
    waited[1].set_exception(KeyError("known"))
    waiting = [deadlines.bound(each, loop_time()) for each in waited]
    waited[2].set_result(3)
    waited[3].set_exception(KeyError("late"))
    one, known, three, late = await asyncio.gather(*waiting, return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(known, KeyError)
    assert isinstance(late, KeyError)


async def test_who_has_waited_for_too_long_is_told_and_nobody_else() -> None:
    deadlines = Deadlines(0.05)
    early: asyncio.Future[None] = asyncio.Future()
    late: asyncio.Future[None] = asyncio.Future()
    deadlines.bound(late, loop_time() + 60)
    with pytest.raises(TimeoutError):
        await deadlines.bound(early, loop_time())
    assert not late.done()
    late.set_result(None)


async def test_waiting_for_one_thing_after_another_takes_no_longer() -> None:
    """What counts is since when one waits, not for what: this one has waited for a day."""
    with pytest.raises(TimeoutError):
        await Deadlines(1).bound(asyncio.Future(), loop_time() - 86400)


async def test_who_leaves_is_forgotten_and_with_the_last_the_timer_ends() -> None:
    deadlines = Deadlines(0.01)
    future: asyncio.Future[None] = asyncio.Future()
    deadlines.bound(future, loop_time())
    assert deadlines._timer is not None
    future.cancel()
    await eventually(lambda: deadlines._timer is None)
    assert not deadlines._waiting


async def test_who_waits_for_something_else_meanwhile_is_told_of_no_error() -> None:
    """Nobody has looked at a future that was cancelled: the timer leaves it as it is."""
    deadlines = Deadlines(0.01)
    left: asyncio.Future[None] = asyncio.Future()
    deadlines.bound(left, loop_time()).cancel()
    with pytest.raises(TimeoutError):
        await deadlines.bound(asyncio.Future(), loop_time())
    assert left.cancelled()
