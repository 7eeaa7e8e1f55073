"""Heartbeats: one task of a node visits every stream once in each heartbeat interval.

A timer per stream would be a thousand timers; one task that wrote to all streams at once would
hold up events behind thousands of writes. So the interval is cut into slices, and each stream
belongs to one.
"""

import asyncio
import itertools
import logging
from typing import Final, Protocol

from aionotify.events.position import FRESH_PARTS
from aionotify.telemetry.stats import Histogram

SLICES: Final = 32  # 5,000 streams: 156 writes, about a millisecond, at a time

_log = logging.getLogger(__name__)


def interval(configured: float, retention: float) -> float:
    """Return the seconds between two visits, with which clients also get cursors that last."""
    return min(configured, retention / (2 * FRESH_PARTS))


class HeartbeatStream(Protocol):
    """What the heartbeat asks of a stream."""

    slice: int

    def beat(self) -> None:
        """Write a heartbeat, or notice that nobody is there any more."""


class Heartbeat:
    """Calls `beat()` of each stream every `interval` seconds.

    Attributes:
        interval: seconds, as given.
        lag: seconds by which each slice was late, and so was everything else on this event loop.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._slices: list[set[HeartbeatStream]] = [set() for _ in range(SLICES)]
        self._next = itertools.cycle(self._slices)
        self._turn = itertools.cycle(range(SLICES))
        self.lag = Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

    def add(self, stream: HeartbeatStream) -> None:
        # In turn, for those who come in one moment (after a deploy: all) must not stay together.
        stream.slice = next(self._turn)
        self._slices[stream.slice].add(stream)

    def discard(self, stream: HeartbeatStream) -> None:
        self._slices[stream.slice].discard(stream)

    def adopt(self, other: "Heartbeat") -> None:
        """Beat as often as `other` does."""
        self.interval = other.interval

    async def run(self) -> None:
        """Until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            tick = self.interval / SLICES
            due = clock() + tick
            await asyncio.sleep(tick)
            self.lag.observe(max(0.0, clock() - due))
            for stream in list(next(self._next)):
                try:
                    stream.beat()
                except Exception:  # noqa: BLE001 - one stream must not stop those of all others
                    _log.exception("heartbeat failed")
