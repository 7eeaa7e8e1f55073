"""Leaving: streams end spread over a time, and all within it."""

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest

from aionotify.streams.drain import leave
from aionotify.streams.hub import Hub


class Stream:
    """A stream whose end takes a while by a clock."""

    def __init__(self, clock: "Clock", cost: float) -> None:
        self.closed_at: float | None = None
        self._clock = clock
        self._cost = cost

    def close(self, reason: str) -> None:
        self.closed_at = self._clock.now
        self._clock.now += self._cost


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Streams:
    """A hub with nothing but streams."""

    def __init__(self, clock: Clock, count: int, cost: float = 0.0) -> None:
        self.closed = False
        self.all = [Stream(clock, cost) for _ in range(count)]

    def streams(self) -> Iterator[Stream]:
        return (stream for stream in self.all if stream.closed_at is None)

    async def empty(self) -> None:
        assert not list(self.streams())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Passes by as long as somebody sleeps, who does not really."""
    clock, sleep = Clock(), asyncio.sleep

    async def pass_by(seconds: float) -> None:
        clock.now += seconds
        await sleep(0)

    monkeypatch.setattr("aionotify.streams.drain.asyncio.sleep", pass_by)
    return clock


@pytest.mark.parametrize("cost", [0.0, 0.0005, 0.0015])
@pytest.mark.parametrize("count", [1, 20, 5000])
async def test_all_streams_end_within_the_time(clock: Clock, count: int, cost: float) -> None:
    """Also when ending them takes a good part of it."""
    hub = Streams(clock, count, cost)
    began = clock.now
    await leave(cast(Hub, hub), 10.0, clock=clock)
    assert hub.closed
    assert clock.now - began <= 9.5
    assert clock.now - began >= (8.5 if count == 5000 else 0)


async def test_streams_end_spread_over_the_time(clock: Clock) -> None:
    hub = Streams(clock, 5000)
    await leave(cast(Hub, hub), 10.0, clock=clock)
    moments = sorted(stream.closed_at or 0 for stream in hub.all)
    most = max(moments.count(moment) for moment in set(moments))
    assert most <= 60
    assert 8 < moments[-1] - moments[0] <= 9


async def test_without_any_time_all_end_at_once(clock: Clock) -> None:
    hub = Streams(clock, 100)
    await leave(cast(Hub, hub), 0, clock=clock)
    assert clock.now == 1000.0
