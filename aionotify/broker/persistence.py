"""Whether Redis' append-only file has all that Redis has acknowledged.

With ``appendfsync everysec`` Redis acknowledges before it writes. When its disk fills up, it keeps
acknowledged writes in memory until there is room, and refuses only later ones. During a slow fsync
it also keeps up to two seconds of writes in memory. If the server ends then, these writes are lost.
"""

import asyncio
from typing import Final

from aionotify.broker.connection.endpoint import info, replies
from aionotify.broker.connection.pipeline import Execute
from aionotify.errors import BrokerUnavailable

_RETRY_INTERVAL: Final = 0.01  # seconds
_TIMEOUT: Final = 4.0  # seconds; after two, Redis writes even during an fsync


async def written(execute: Execute) -> None:
    """Return when the file has all that Redis acknowledged before the call.

    The data then survives any end of Redis, but not yet a power cut.

    Raises:
        BrokerUnavailable: Redis did not write it, or not in time, or does not answer. It may still
            write it.
        BrokerRefused: the Redis user may not use INFO.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + _TIMEOUT
    conclusive = False
    while True:
        [reply] = await replies(execute, ("INFO", "persistence"))
        told = info(reply)
        if told["aof_last_write_status"] != "ok":
            raise BrokerUnavailable("Redis could not write to its disk; it may be full")
        if conclusive or told["aof_buffer_length"] == "0":
            return
        if clock() > until:  # new writes may be in memory at each look
            raise BrokerUnavailable("Redis takes too long to write to its disk")
        # The writes in memory may be newer than ours. Redis writes all of them before it reads the
        # next command, unless an fsync is running.
        if not (conclusive := told["aof_pending_bio_fsync"] == "0"):
            await asyncio.sleep(_RETRY_INTERVAL)
