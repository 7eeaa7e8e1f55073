"""Heartbeats: every stream once in each interval, and never all of them at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from aionotify.streams.heartbeat import SLICES, Heartbeat
from tests.harness import eventually


class Heart:
    """A stream that notes when it is visited."""

    slice: int

    def __init__(self) -> None:
        self.beats: list[float] = []

    def beat(self) -> None:
        self.beats.append(asyncio.get_running_loop().time())


class Broken(Heart):
    """One whose heartbeat fails."""

    def beat(self) -> None:
        super().beat()
        raise OSError("no such socket")


@asynccontextmanager
async def running(heartbeat: Heartbeat) -> AsyncIterator[None]:
    task = asyncio.create_task(heartbeat.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def test_every_stream_is_visited_once_in_each_interval() -> None:
    heartbeat = Heartbeat(0.16)
    hearts = [Heart() for _ in range(100)]
    for heart in hearts:
        heartbeat.add(heart)
    async with running(heartbeat):
        await eventually(lambda: all(len(heart.beats) >= 5 for heart in hearts))
        seen = sorted(len(heart.beats) for heart in hearts)
    assert seen[-1] - seen[0] <= 1
    for heart in hearts:
        gaps = [later - earlier for earlier, later in pairwise(heart.beats)]
        assert min(gaps) > 0.1  # a whole turn of the slices, whatever the machine was doing


async def test_streams_that_open_in_one_moment_are_visited_spread_over_the_interval() -> None:
    heartbeat = Heartbeat(1)
    hearts = [Heart() for _ in range(SLICES * 10)]
    for heart in hearts:
        heartbeat.add(heart)
    assert {sum(heart.slice == slice for heart in hearts) for slice in range(SLICES)} == {10}


async def test_a_stream_that_has_ended_is_visited_no_more() -> None:
    heartbeat = Heartbeat(0.05)
    ended, open_ = Heart(), Heart()
    heartbeat.add(ended)
    heartbeat.add(open_)
    async with running(heartbeat):
        await eventually(lambda: ended.beats)
        heartbeat.discard(ended)
        count, so_far = len(ended.beats), len(open_.beats)
        await eventually(lambda: len(open_.beats) >= so_far + 3)
    assert len(ended.beats) == count


async def test_a_heartbeat_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    heartbeat = Heartbeat(0.05)
    broken, healthy = Broken(), Heart()
    heartbeat.add(broken)
    heartbeat.add(healthy)
    async with running(heartbeat):
        await eventually(lambda: len(healthy.beats) >= 3 and len(broken.beats) >= 3)
    assert "heartbeat failed" in caplog.text


async def test_the_heartbeat_says_how_late_the_event_loop_was() -> None:
    heartbeat = Heartbeat(0.032)
    async with running(heartbeat):
        await eventually(lambda: sum(heartbeat.lag.buckets) >= 5)
    assert heartbeat.lag.sum >= 0
