"""How a node leaves, or starts over: its streams end one after the other.

Spreading is for the sake of those to whom they go: the other nodes, Redis and the main host.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from aionotify import tasks
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason

_STEPS: Final = 200  # batches of streams that are ended together
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two of them


async def leave(hub: Hub, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
    """Take no new streams, and end the open ones spread over `seconds`.

    Args:
        clock: seconds that only go forward.

    Raises TimeoutError: some did not end.
    """
    hub.draining = hub.closed = True
    await end_all(hub, seconds, clock=clock)
    for stream in hub.streams():  # those that were being opened when it began
        stream.close(CloseReason.DRAIN)
    async with tasks.timeout(max(1.0, seconds * 0.1)):
        await hub.empty()


async def end_all(hub: Hub, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
    """End the streams that are open now, spread over `seconds`; their clients connect again."""
    streams = list(hub.streams())
    random.shuffle(streams)
    pause = min(max(seconds / _STEPS, _SHORTEST), _LONGEST)
    spread = seconds * 0.9
    steps = max(1, int(spread / pause))
    total, size = len(streams), -(-len(streams) // steps)
    until = clock() + spread
    while streams:
        # A step takes longer than its pause. A node that is late ends more streams at a time.
        left = int(total * max(0.0, until - clock() - pause) / spread) if spread else 0
        for _ in range(max(size, len(streams) - left)):
            if streams:
                streams.pop().close(CloseReason.DRAIN)
        await asyncio.sleep(pause if streams else 0)
