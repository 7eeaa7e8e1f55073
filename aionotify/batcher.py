"""Work for many callers in few batches.

What comes while a batch is under way is collected and makes up the next one. So one caller does not
wait, a thousand share what each would else pay for alone, and whoever does the work is never asked
for more than a batch ahead. Knows nothing of the work.
"""

import asyncio
import itertools
import operator
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Hashable)
R = TypeVar("R")

_is_done = operator.methodcaller("done")


class Batcher(Generic[T, R]):
    """Collects items, and has them carried out.

    Nobody waits for what will not come: when the work is cancelled, so are all that wait for it.
    There is no task while there is nothing to do.

    Args:
        carry_out: does the work for a batch; returns for each item its result, or the error that
            whoever submitted it is to have. What it raises they all have.
        name: of the task.
        at_most: items in a batch.
        window: seconds from the end of a batch to the next one, unless that is full already.
    """

    def __init__(
        self,
        carry_out: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        name: str,
        at_most: int | None = None,
        window: float | None = None,
    ) -> None:
        self._carry_out = carry_out
        self._name = name
        self._at_most = at_most
        self._window = window
        self._waiting: dict[T, list[asyncio.Future[R]]] = {}  # not yet under way
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: T) -> asyncio.Future[R]:
        """The item's result, in time.

        Items that are equal share one, but only until they are under way, so that no result is
        older than what was asked for. An item that all have turned away from before is dropped.
        """
        loop = asyncio.get_running_loop()
        task = self._task
        if task is not None and task.get_loop() is not loop:
            self._waiting = {}  # whoever waited on a loop that was closed has gone with it
            task = None
        if task is None or task.done():
            self._task = loop.create_task(self._work(), name=self._name)
            self._task.add_done_callback(self._ended)
        # A future for each who asks: whoever stops waiting does so for himself alone.
        result: asyncio.Future[R] = loop.create_future()
        self._waiting.setdefault(item, []).append(result)
        return result

    def give_up(self, error: Exception) -> None:
        """Have all that wait for later batches fail: they would be kept for as long again."""
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            _settle(futures, error)

    async def close(self) -> None:
        """Wait for what is under way, and for what waits behind it."""
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while batch := self._next_batch():
            await self._run(batch)
            full = self._at_most is not None and len(self._waiting) >= self._at_most
            if self._window is not None and not full:
                await asyncio.sleep(self._window)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self._task:  # or somebody has submitted something since, and it is under way
            _cancel(self._waiting)

    def _next_batch(self) -> dict[T, list[asyncio.Future[R]]]:
        batch: dict[T, list[asyncio.Future[R]]] = {}
        while self._waiting and not batch:
            if self._at_most is None or len(self._waiting) <= self._at_most:
                taken, self._waiting = self._waiting, {}
            else:
                items = list(itertools.islice(self._waiting, self._at_most))
                taken = {item: self._waiting.pop(item) for item in items}
            batch = {item: taken[item] for item in taken if not all(map(_is_done, taken[item]))}
        return batch

    async def _run(self, batch: dict[T, list[asyncio.Future[R]]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._carry_out(list(batch))
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            results = [error] * len(batch)
        except BaseException:
            _cancel(batch)
            raise
        for futures, result in zip(batch.values(), results, strict=True):
            _settle(futures, result)


def _cancel(items: dict[Any, list[asyncio.Future[Any]]]) -> None:
    for futures in items.values():
        for future in futures:
            if not future.get_loop().is_closed():  # there, nobody waits any more
                future.cancel()
    items.clear()


def _settle(futures: list[asyncio.Future[Any]], result: Any) -> None:
    for future in futures:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
            future.exception()  # looked at, even when whoever asked has left
        else:
            future.set_result(result)
