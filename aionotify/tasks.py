"""Ending tasks for certain.

On Python 3.11 a cancellation can be swallowed: `asyncio.wait_for`, which redis-py puts around every
command that it sends, returns the result when both come in the same step of the event loop. A task
that then goes on with a loop of its own would never end.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

_RETRY_INTERVAL: Final = 0.1  # seconds


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, as often as it takes, and wait until they have ended."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_RETRY_INTERVAL)


def obey() -> None:
    """Raise the CancelledError that the task running this was sent and has not seen."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
