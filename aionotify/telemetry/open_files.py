"""Open files: whether file descriptors are left for new connections.

Without any, open streams go on, new connections wait (asyncio) or are closed (uvloop), and the node
cannot connect to Redis or the main host again.
"""

import asyncio
import errno
import logging
import os
import resource
from typing import Any, Final

from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.sampled import Sampled

_INTERVAL: Final = 1.0  # seconds
_KEPT: Final = 32  # descriptors to keep free: for Redis, the main host, health checks
_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)
# What asyncio says in BaseSelectorEventLoop._accept_connection.
_NOT_ACCEPTED: Final = "socket.accept() out of system resource"

_log = logging.getLogger(__name__)


class OpenFiles:
    """Checks once a second whether file descriptors are left.

    Attributes:
        health: the result.
    """

    def __init__(self) -> None:
        self.health = HealthCheck(
            _log,
            wrong="open files are near the limit",
            right="open files are below the limit again",
        )

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            self.health.found(_shortage())
            await asyncio.sleep(_INTERVAL)


def accept_quietly(loop: asyncio.AbstractEventLoop) -> None:
    """Let `loop` log only samples of connections that it cannot accept.

    Every second, asyncio makes as many attempts as the backlog is long, and logs each with a
    traceback.
    """
    sampled = Sampled(_log)

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") == _NOT_ACCEPTED:
            sampled.warning("cannot accept connections", {"reason": str(context["exception"])})
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


def _shortage() -> str | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lowest = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NONE_LEFT:
            raise
        return f"no file descriptor is left ({error.strerror})"
    os.close(lowest)
    # open() returns the lowest free descriptor, so all below it are in use.
    if limit != resource.RLIM_INFINITY and lowest >= limit - min(_KEPT, limit // 4):
        return f"nearly all of {limit} file descriptors are open"
    return None
