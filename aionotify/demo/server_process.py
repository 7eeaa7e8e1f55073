"""The demo's notification server: a process of its own, so that it can be restarted and killed.

It is the process that ``server.workers`` starts several of. We keep its listening socket, as
systemd does with a socket unit: who connects while no process is there waits for the next one. A
process that ends by itself, or by somebody else's signal, is replaced too.
"""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from aionotify import tasks
from aionotify.config import Config
from aionotify.errors import AionotifyError
from aionotify.process.frozen import Unpacked
from aionotify.process.node import Sockets
from aionotify.process.worker_channel import Order
from aionotify.process.worker_process import spawn

_DOWNTIME: Final = 3.0  # seconds after a kill: time to publish something that nobody hears
_START_TIMEOUT: Final = 30.0  # seconds; half of one is usual
_END_TIMEOUT: Final = 10.0  # seconds beyond `server.drain`


class ServerFailed(AionotifyError):
    """The server does not start."""


class ServerBusy(AionotifyError):
    """The server is between two processes already."""


class ServerProcess:
    """The server from `start` to `stop`, in one process after the other.

    Args:
        sockets: listening ones, which stay the caller's to close.
        downtime: seconds for which nothing runs after `kill`.
    """

    def __init__(
        self, config: Config, sockets: Sequence[socket.socket], downtime: float = _DOWNTIME
    ) -> None:
        self._config = config
        self._sockets = Sockets(sockets, kept=True)
        self._downtime = downtime
        self._unpacked = Unpacked()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: asyncio.StreamWriter | None = None
        self._change: asyncio.Task[float] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def pid(self) -> int | None:
        """The process that serves, or None while there is none."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start a process; return when it serves.

        Raises ServerFailed.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, self._channel = await asyncio.open_connection(sock=ours)
            process = await spawn(self._sockets, theirs, None, self._unpacked.environ())
        self._process, self._is_ending = process, False
        self._channel.write(Order(config=self._config, level=self._config.log.level).line())
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with tasks.timeout(_START_TIMEOUT):
                while line := await reader.readline():
                    if line == b"READY=1\n":
                        watch = self._replace_dead(process)
                        self._watch = asyncio.create_task(watch, name="server watch")
                        return
        await self._end(signal.SIGKILL)
        raise ServerFailed("the server did not start")

    async def stop(self) -> None:
        """End the process, and whatever is being done to it."""
        await tasks.cancelled(task for task in (self._watch, self._change) if task is not None)
        # By the end of the channel: a Ctrl-C is for the server too, and a second signal is an order
        # to hurry.
        await self._end(None)

    async def restart(self) -> float:
        """Send SIGTERM, then start another process; return the seconds that it took.

        Raises ServerBusy, ServerFailed.
        """
        return await self._changed(lambda: self._replace(signal.SIGTERM, 0))

    async def kill(self) -> float:
        """Send SIGKILL, start another process after a while; return the seconds that it took.

        Raises ServerBusy, ServerFailed.
        """
        return await self._changed(lambda: self._replace(signal.SIGKILL, self._downtime))

    async def _changed(self, change: Callable[[], Coroutine[Any, Any, float]]) -> float:
        if self._change is not None and not self._change.done():
            raise ServerBusy("the server is being started again already")
        # A task: who asked may go away, and the server has to come back all the same.
        self._change = asyncio.create_task(change(), name="server change")
        return await asyncio.shield(self._change)

    async def _replace(self, number: signal.Signals, downtime: float) -> float:
        began = time.monotonic()
        await self._end(number)
        await asyncio.sleep(downtime)
        await self.start()
        return time.monotonic() - began

    async def _replace_dead(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if process is self._process and not self._is_ending:
            with contextlib.suppress(ServerBusy, ServerFailed):
                await self.kill()

    async def _end(self, number: signal.Signals | None) -> None:
        """End the process with a signal or, without one, by the end of its channel."""
        self._is_ending = True
        process, channel, self._channel = self._process, self._channel, None
        if channel is not None and number is None:
            channel.close()
        if process is not None and process.returncode is None:
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            try:
                async with tasks.timeout(self._config.server.drain + _END_TIMEOUT):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if channel is not None:
            channel.close()
