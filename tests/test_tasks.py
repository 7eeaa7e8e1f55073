"""Waiting no longer than one wants to, in tasks that are marked as ones to be cancelled as well."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from aionotify import tasks

SOON = 0.01  # seconds


async def swallow() -> None:
    """Have the caller sent a cancellation, and go on."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


async def outlive_a_group() -> None:
    """Have a TaskGroup of the caller's fail."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())


@pytest.mark.parametrize("before", [swallow, outlive_a_group])
async def test_timeout_is_a_timeout_whatever_the_task_was_sent_before(
    before: Callable[[], Awaitable[None]],
) -> None:
    await before()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with tasks.timeout(SOON):
                await asyncio.Event().wait()


async def test_a_mark_alone_is_no_timeout() -> None:
    await swallow()
    assert tasks.marks() == 1
    async with tasks.timeout(10):
        await asyncio.sleep(0)
    async with tasks.timeout(None):
        await asyncio.sleep(0)
    assert tasks.marks() == 1


async def test_a_task_cancelled_and_late_in_the_same_moment_is_cancelled() -> None:
    async def late() -> None:
        await swallow()
        task = asyncio.current_task()
        assert task is not None
        async with tasks.timeout(0):
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(late())


async def test_of_two_timeouts_the_one_that_has_passed_is_told() -> None:
    await swallow()
    async with tasks.timeout(10):
        with pytest.raises(TimeoutError):
            async with tasks.timeout(SOON):
                await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with tasks.timeout(SOON), tasks.timeout(10):
            await asyncio.Event().wait()


async def test_a_timeout_of_somebody_else_is_passed_on() -> None:
    with pytest.raises(TimeoutError, match="theirs"):
        async with tasks.timeout(10):
            raise TimeoutError("theirs")
