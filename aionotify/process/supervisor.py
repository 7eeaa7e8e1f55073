"""Several nodes on one port: a parent that owns the sockets, and a process for each node.

The parent keeps every listening socket open, so connections wait while it replaces a node that
died; when all stop, it leaves them to the nodes. Each node gets its configuration over a channel,
and stops when the channel ends. If a service manager signals the whole group, a node does not count
that as a second signal.

This module knows processes, not what they do.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aionotify import app as application
from aionotify import tasks
from aionotify.config import Config
from aionotify.errors import ConfigError
from aionotify.process import frozen, node, systemd
from aionotify.process.node import Sockets
from aionotify.process.reload import Reloading
from aionotify.process.signals import on_hangup, on_signal
from aionotify.process.worker_channel import RELOADED, Order
from aionotify.process.worker_process import spawn
from aionotify.telemetry import logs
from aionotify.telemetry.worker_peers import WorkerPlace

logger = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0  # seconds before a node that died is replaced
_STEADY = 60.0  # seconds of life after which a death counts as a new problem
_GRACE = 15.0  # seconds beyond server.drain after which a node is stuck
_RELOAD = 5.0  # seconds in which every node should have reloaded


@dataclass(eq=False, slots=True)
class _Node:
    """A running node.

    Attributes:
        serves: whether it has said that it serves, and has not ended since.
        follows: set unless a reload is not answered yet.
    """

    process: asyncio.subprocess.Process
    channel: asyncio.StreamWriter
    serves: bool = False
    status: str = ""
    follows: asyncio.Event = field(default_factory=asyncio.Event)


def supervise(config: Config, sockets: Sequence[Sockets], reloading: Reloading) -> int:
    """Run a node on each of `sockets` until SIGTERM or SIGINT, and return the exit code.

    0 if every node stopped in order; 1 if one did not, or a second signal killed them; the node's
    own code if a node did not start.
    """
    return asyncio.run(_Parent(config, reloading).run(sockets))


class _Parent:
    """Starts nodes, replaces those that die, and stops them."""

    def __init__(self, config: Config, reloading: Reloading) -> None:
        self._config = config
        self._reloading = reloading
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._code = 0
        self._level = config.log.level
        self._workers = config.server.workers
        self._nodes: list[_Node] = []
        self._unpacked = frozen.Unpacked()
        self._max_silence = systemd.watchdog_interval()
        self._sockets: Sequence[Sockets] = ()

    async def run(self, sockets: Sequence[Sockets]) -> int:
        self._sockets = sockets
        on_signal((signal.SIGTERM, signal.SIGINT), self._on_signal)
        with contextlib.suppress(ConfigError):  # which the nodes tell
            application.check(self._config)  # what a reload needs is loaded, while it is there
        on_signal((signal.SIGUSR1,), self._toggle_debug)
        on_hangup(self._reloading.ask)
        with _worker_directory() as directory:
            async with node.watched(systemd.notify), asyncio.TaskGroup() as group:
                group.create_task(self._guide(), name="guide")
                for index, own in enumerate(sockets):
                    place = WorkerPlace(directory, index, len(sockets)) if directory else None
                    group.create_task(self._keep(own, place), name=f"worker {index}")
        return self._code

    async def _guide(self) -> None:
        """Once all nodes are ready: reload when asked to, and report their status."""
        await self._ready.wait()
        reloads = self._reloading.run(self._adopt, self._refused)
        reports = node.report(systemd.notify, self._status)
        async with node.running_beside(reloads, "reload"), node.running_beside(reports, "status"):
            await self._stopping.wait()

    async def _adopt(self, config: Config) -> None:
        """Put `config` in force for all nodes, present and future."""
        application.check(config)
        self._config = self._config.reloaded(config)
        self._level = self._config.log.level
        for each in self._nodes:
            each.follows.clear()
        self._order(Order(config=self._config))
        try:
            async with tasks.timeout(_RELOAD):
                for each in list(self._nodes):
                    await each.follows.wait()
        except TimeoutError:
            logger.warning("worker is slow to reload")

    def _refused(self) -> None:
        self._order(Order(refused=True))

    def _status(self) -> str:
        nodes = (f"Worker {each.process.pid}: {each.status}" for each in self._nodes if each.status)
        return ". ".join(filter(None, (self._reloading.problem, *nodes)))

    def _order(self, order: Order) -> None:
        if not self._stopping.is_set():
            for each in self._nodes:
                each.channel.write(order.line())

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._kill()
        else:
            systemd.notify("STOPPING=1\nSTATUS=Ending the open streams")
            self._stop()

    def _toggle_debug(self) -> None:
        self._level = logs.toggle_debug(self._config.log.level)
        self._order(Order(level=self._level))

    def _stop(self) -> None:
        self._stopping.set()
        self._ready.set()
        # Or connections would go on to be made to nodes that take none, and wait for nothing.
        for own in self._sockets:
            for sock in (*own.public, *own.admin):
                sock.close()
        for each in self._nodes:
            each.channel.write_eof()
        at_most = self._config.server.drain + _GRACE
        asyncio.get_running_loop().call_later(at_most, self._kill)

    def _kill(self) -> None:
        self._code = 1
        for each in self._nodes:
            with contextlib.suppress(ProcessLookupError):
                each.process.kill()

    async def _keep(self, sockets: Sockets, place: WorkerPlace | None) -> None:
        """Run nodes on `sockets`, one after the other, until we stop."""
        delay, was_ready = _FIRST_DELAY, False
        while True:
            started = time.monotonic()
            code, ready = await self._run_node(sockets, place)
            if self._stopping.is_set():
                self._code = self._code or int(code != 0)
                return
            was_ready |= ready
            if not was_ready:
                # If no node has ever started, another attempt would fail too.
                logger.error("worker did not start", extra={"fields": {"code": code}})
                self._code = self._code or max(code, 1)
                self._stop()
                return
            if time.monotonic() - started > _STEADY:
                delay = _FIRST_DELAY
            fields = {"code": code, "replaced_after": delay}
            logger.error("worker exited unexpectedly", extra={"fields": fields})
            if await self._stopped_within(delay):
                return
            delay = min(2 * delay, _LAST_DELAY)

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with tasks.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _run_node(self, sockets: Sockets, place: WorkerPlace | None) -> tuple[int, bool]:
        """Run one node to its end; return its exit code and whether it ever was ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, channel = await asyncio.open_connection(sock=ours)
            if self._stopping.is_set():
                channel.close()
                return 0, False
            process = await spawn(sockets, theirs, place, self._unpacked.environ())
        started = _Node(process, channel)
        self._nodes.append(started)
        channel.write(Order(config=self._config, level=self._level).line())
        if self._reloading.problem is not None:
            channel.write(Order(refused=True).line())
        if self._stopping.is_set():
            channel.write_eof()
        ready = True
        try:
            ready = await self._follow(reader, started)
        except TimeoutError:
            logger.error("worker hangs", extra={"fields": {"pid": process.pid}})
            process.kill()
        finally:
            started.serves = False
            code = await process.wait()
            self._nodes.remove(started)
            started.follows.set()
            channel.close()
        return code, ready

    async def _follow(self, reader: asyncio.StreamReader, started: _Node) -> bool:
        """Take note of what a node reports until it ends.

        Raises TimeoutError: it is silent for too long.
        """
        while True:
            line = b""
            # A node that dies before it has read its orders resets the connection.
            with contextlib.suppress(ConnectionError):
                async with tasks.timeout(self._max_silence if started.serves else None):
                    line = await reader.readline()
            if not line:
                return started.serves
            if line == b"READY=1\n":
                started.serves = True
                self._say_when_all_serve()
            elif line.startswith(b"STATUS="):
                started.status = line.decode().strip().removeprefix("STATUS=")
            elif line.strip() == RELOADED.encode():
                started.follows.set()

    def _say_when_all_serve(self) -> None:
        # At one time: one that was ready and died must not count beside the one in its place.
        serving = sum(each.serves for each in self._nodes)
        if serving == self._workers and not self._ready.is_set():
            systemd.notify(f"READY=1\nSTATUS=Serving with {serving} workers")
            self._ready.set()


@contextlib.contextmanager
def _worker_directory() -> Iterator[str | None]:
    """Make a directory that only our user may enter; None if that fails."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd.exec(5)
    try:
        directory = tempfile.mkdtemp(prefix="aionotify-", dir=runtime or None)
    except OSError as error:
        fields = {"reason": str(error)}
        logger.warning("no directory for worker sockets", extra={"fields": fields})
        yield None
        return
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
