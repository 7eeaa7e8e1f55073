"""One call at a time for each key, however many ask for its result."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class FlightCancelled(Exception):
    """`SingleFlight.close` ended the call before it had a result."""


class SingleFlight(Generic[T]):
    """Runs calls as tasks, named `name`; those who ask for the same key meanwhile share one.

    A call does not belong to whoever asked first: it goes on when they are cancelled. So it must
    end by itself, and it should return what went wrong rather than raise it, because an exception
    raised at many waiters gathers the traceback of each.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    async def run(self, key: Hashable, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `call`, or of the call already under way for `key`.

        Raises FlightCancelled after `close`, and whatever the call raises.
        """
        if self._closed:
            raise FlightCancelled
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(call(), name=self._name)
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        # Unlike `await task`, this does not cancel the call together with one of its waiters.
        await asyncio.wait((task,))
        if task.cancelled():
            raise FlightCancelled
        return task.result()

    async def close(self) -> None:
        """Cancel all calls under way and wait until they have ended."""
        self._closed = True
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _landed(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # or asyncio complains when every waiter was cancelled
