"""One batch at a time: what comes meanwhile makes up the next, and nobody is left waiting."""

import asyncio
import gc
from collections.abc import Iterable, Sequence

import pytest

from aionotify import tasks
from aionotify.batcher import Batcher
from tests.harness import eventually


class Work:
    """Doubles what it is given, once `going` is set; keeps its batches."""

    def __init__(self, at_most: int | None = None, window: float | None = None) -> None:
        self.batches: list[list[int]] = []
        self.going = asyncio.Event()
        self.going.set()
        self.wrong: dict[int, Exception] = {}
        self.bugs: list[BaseException] = []
        self.batcher = Batcher(self._double, name="work", at_most=at_most, window=window)

    async def _double(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        await self.going.wait()
        if self.bugs:
            raise self.bugs.pop()
        return [self.wrong.get(item) or 2 * item for item in items]

    def submit(self, items: Iterable[int]) -> list[asyncio.Future[int]]:
        return [self.batcher.submit(item) for item in items]


def working() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "work"]


async def test_each_gets_the_result_of_what_he_submitted() -> None:
    work = Work()
    assert await asyncio.gather(*work.submit([1, 2, 3])) == [2, 4, 6]
    assert work.batches == [[1, 2, 3]]


async def test_what_comes_while_a_batch_is_under_way_makes_up_the_next() -> None:
    work = Work()
    work.going.clear()
    first = work.batcher.submit(1)
    await eventually(lambda: work.batches)
    others = work.submit([2, 3])
    work.going.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert work.batches == [[1], [2, 3]]


async def test_a_batch_has_no_more_than_it_may() -> None:
    work = Work(at_most=2)
    await asyncio.gather(*work.submit(range(5)))
    assert work.batches == [[0, 1], [2, 3], [4]]


async def test_equal_items_share_a_result_until_they_are_under_way() -> None:
    """A result is never older than what was asked for."""
    work = Work()
    work.going.clear()
    early = work.submit([1, 1])
    await eventually(lambda: work.batches)
    late = work.submit([1, 1])
    work.going.set()
    assert await asyncio.gather(*early, *late) == [2] * 4
    assert work.batches == [[1], [1]]


async def test_what_comes_soon_after_a_batch_waits_for_what_else_does() -> None:
    work = Work(window=0.05)
    await work.batcher.submit(1)
    second = work.batcher.submit(2)
    await asyncio.sleep(0.01)
    await asyncio.gather(second, work.batcher.submit(3))
    assert work.batches == [[1], [2, 3]]


async def test_a_batch_that_is_full_waits_for_nothing() -> None:
    work = Work(at_most=2, window=3600)
    async with tasks.timeout(5):
        await asyncio.gather(*work.submit(range(6)))
    await tasks.cancelled(working())


async def test_an_error_in_place_of_a_result_is_of_who_submitted_it() -> None:
    work = Work()
    work.wrong[2] = ValueError()
    good, wrong, last = await asyncio.gather(*work.submit([1, 2, 3]), return_exceptions=True)
    assert (good, last) == (2, 6)
    assert isinstance(wrong, ValueError)


async def test_an_error_of_the_work_is_told_to_its_batch_and_over_with_it() -> None:
    work = Work(at_most=2)
    work.bugs = [ZeroDivisionError()]
    failed = await asyncio.gather(*work.submit(range(4)), return_exceptions=True)
    assert [type(each) for each in failed] == [ZeroDivisionError, ZeroDivisionError, int, int]


async def test_who_waits_behind_what_has_failed_can_be_given_up() -> None:
    work = Work(at_most=1)
    work.going.clear()
    first, *behind = work.submit(range(3))
    await eventually(lambda: work.batches)
    work.batcher.give_up(OSError())
    work.going.set()
    assert await first == 0
    failed = await asyncio.gather(*behind, return_exceptions=True)
    assert [type(each) for each in failed] == [OSError, OSError]
    assert work.batches == [[0]]
    assert await work.batcher.submit(4) == 8


async def test_who_stops_waiting_does_so_for_himself() -> None:
    work = Work()
    staying, leaving = work.submit([1, 1])
    leaving.cancel()
    assert await staying == 2


async def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    work = Work(at_most=2)
    left, stays, *more = work.submit(range(4))
    for each in (left, *more):
        each.cancel()
    assert await stays == 2
    await work.batcher.close()
    assert work.batches == [[1]]


async def test_there_is_no_task_while_there_is_nothing_to_do() -> None:
    work = Work()
    assert working() == []
    for _ in range(2):
        result = work.batcher.submit(1)
        assert len(working()) == 1
        await result
        await work.batcher.close()
        assert working() == []


async def test_closing_waits_for_all_that_was_submitted() -> None:
    work = Work(at_most=2)
    results = work.submit(range(5))
    await work.batcher.close()
    assert all(each.done() for each in results)
    await work.batcher.close()


@pytest.mark.parametrize("begun", [False, True])
async def test_nobody_is_left_waiting_when_the_work_is_cancelled(begun: bool) -> None:
    """As a loop does that ends; and whoever comes afterwards is served."""
    work = Work(at_most=2)
    work.going.clear()
    results = work.submit(range(5))
    if begun:
        await eventually(lambda: work.batches)
    await tasks.cancelled(working())
    assert all(each.cancelled() for each in results)
    work.going.set()
    assert await work.batcher.submit(1) == 2


async def test_who_comes_in_the_moment_of_a_cancellation_is_served() -> None:
    work = Work()
    work.going.clear()
    lost = work.batcher.submit(1)
    await eventually(lambda: work.batches)
    [task] = working()
    task.cancel()
    await asyncio.sleep(0)
    assert task.done()
    work.going.set()
    assert await work.batcher.submit(2) == 4
    assert lost.cancelled()


@pytest.mark.parametrize("begun", [False, True])
def test_it_works_on_another_loop_when_its_first_was_closed(begun: bool) -> None:
    """However that came about: what was under way there disturbs nobody here."""
    work = Work(at_most=1)
    work.going.clear()
    loop = asyncio.new_event_loop()

    async def leave() -> list[asyncio.Future[int]]:
        results = work.submit([1, 2])
        if begun:
            await eventually(lambda: work.batches)
        return results

    left = loop.run_until_complete(leave())
    loop.close()

    async def come() -> int:
        work.going = asyncio.Event()
        work.going.set()
        result = work.batcher.submit(3)
        gc.collect()  # what is left of the first loop
        return await result

    assert asyncio.run(come()) == 6
    assert not any(each.done() for each in left)
    asyncio.run(work.batcher.close())
