"""Whether what Redis has acknowledged is in its append-only file.

With ``appendfsync everysec`` Redis answers before it can know. What finds its disk full is
acknowledged and kept in memory, to be written once there is room, and only what comes after it is
refused. While an fsync takes its time, up to two seconds of writes are kept in memory as well. A
server that ends then forgets what it has said yes to.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from aionotify.broker.connection.endpoint import translated
from aionotify.errors import BrokerUnavailable

_RETRY_INTERVAL: Final = 0.01  # seconds
_TIMEOUT: Final = 4.0  # seconds; after two Redis writes, whether the fsync has ended or not


async def written(client: Callable[[], Redis]) -> None:
    """Return when the file has all that Redis had acknowledged before.

    It then survives whatever happens to Redis, if not yet a power cut.

    Raises:
        BrokerUnavailable: it could not be written, in time or at all, or Redis does not answer.
            It may be written yet.
        BrokerRefused: the user may not ask (INFO).
    """
    clock = asyncio.get_running_loop().time
    until = clock() + _TIMEOUT
    conclusive = False
    while True:
        with translated():
            told = await client().info("persistence")
        if told["aof_last_write_status"] != "ok":
            raise BrokerUnavailable("Redis could not write to its disk; it may be full")
        if conclusive or not told["aof_buffer_length"]:
            return
        if clock() > until:  # there may be something new in memory whenever one looks
            raise BrokerUnavailable("Redis takes too long to write to its disk")
        # What waits in memory need not be ours. Redis writes all of it before it looks for the
        # next question, unless an fsync is under way.
        if not (conclusive := not told["aof_pending_bio_fsync"]):
            await asyncio.sleep(_RETRY_INTERVAL)
