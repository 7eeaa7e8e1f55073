"""Ending tasks for certain, and waiting no longer than one wants to.

On Python 3.11 a cancellation can be swallowed: `asyncio.wait_for`, which redis-py puts around every
command that it sends, returns the result when both come in the same step of the event loop. A task
that then goes on with a loop of its own would never end.

And a task can be marked as one that is to be cancelled though nobody wants its end: `cancelling()`
is not 0. A cancellation that was swallowed leaves the mark, and before Python 3.13 so does each
`asyncio.TaskGroup` that fails while it waits for its tasks. In such a task, on the Python 3.11.2 of
Debian 12, what `asyncio.timeout` raises is no TimeoutError but a CancelledError, and that ends the
task without a word. Hence `timeout`. redis-py and aiohttp have timeouts of their own, so whoever
outlives a TaskGroup that may fail also runs it in a task of its own, see `Subscriber`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

_RETRY_INTERVAL: Final = 0.1  # seconds


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, as often as it takes, and wait until they have ended.

    Those of another event loop are told to end, if it may run again, and not waited for.
    """
    here, pending = asyncio.get_running_loop(), set()
    for task in tasks:
        loop = task.get_loop()
        if loop is here:
            pending.add(task)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_RETRY_INTERVAL)


def obey() -> None:
    """Raise the CancelledError that the task running this was sent and has not seen."""
    if marks():
        raise asyncio.CancelledError


def marks() -> int:
    """Return how often the task running this was marked as one that is to be cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@contextlib.asynccontextmanager
async def timeout(seconds: float | None) -> AsyncIterator[None]:
    """Do what `asyncio.timeout` does on later Pythons, on each that there is.

    Raises:
        TimeoutError: the block has taken so long, whatever the task was sent before it.
    """
    before, limit = marks(), asyncio.timeout(seconds)  # noqa: TID251
    try:
        async with limit:
            yield
    except asyncio.CancelledError as error:
        if limit.expired() and marks() <= before:
            raise TimeoutError from error
        raise
