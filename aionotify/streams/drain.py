"""How a node leaves: its streams end one after the other.

Spreading is for the sake of those to whom they go: the other nodes, Redis and the main host.
"""

import asyncio
import random
from typing import Final

from aionotify import tasks
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason

_STEPS: Final = 200  # batches of streams that are ended together
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two of them


async def leave(hub: Hub, seconds: float) -> None:
    """Take no new streams, and end the open ones spread over `seconds`.

    Raises TimeoutError: some did not end.
    """
    hub.draining = hub.closed = True
    streams = list(hub.streams())
    random.shuffle(streams)
    pause = min(max(seconds / _STEPS, _SHORTEST), _LONGEST)
    steps = max(1, int(seconds * 0.9 / pause))
    size = -(-len(streams) // steps)
    while streams:
        for stream in streams[-size:]:
            stream.close(CloseReason.DRAIN)
        del streams[-size:]
        await asyncio.sleep(pause if streams else 0)
    for stream in hub.streams():  # those that were being opened when it began
        stream.close(CloseReason.DRAIN)
    async with tasks.timeout(max(1.0, seconds * 0.1)):
        await hub.empty()
