"""File descriptors: whether some are left for new connections, and what happens when none are.

Open streams have theirs and go on. New connections have to wait (asyncio) or are closed (uvloop),
and Redis or the main host cannot be connected to anew.
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
_KEPT: Final = 32  # that should always be left: for Redis, the main host, and whoever asks why
_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)
# What asyncio says in BaseSelectorEventLoop._accept_connection.
_NOT_ACCEPTED: Final = "socket.accept() out of system resource"

_log = logging.getLogger(__name__)


class OpenFiles:
    """Looks how many are left, again and again.

    Attributes:
        condition: whether there are enough.
    """

    def __init__(self) -> None:
        self.condition = HealthCheck(
            _log,
            wrong="open files are near the limit",
            right="open files are below the limit again",
        )

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self.condition.found(_shortage())
            await asyncio.sleep(_INTERVAL)


def accept_quietly(loop: asyncio.AbstractEventLoop) -> None:
    """Have `loop` log that connections cannot be accepted, but not each time it has tried.

    asyncio tries as often as its backlog is long, every second, with a traceback each.
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
    # The lowest one that is free is what one gets, so all below it are taken.
    if limit != resource.RLIM_INFINITY and lowest >= limit - min(_KEPT, limit // 4):
        return f"nearly all of {limit} file descriptors are open"
    return None
