"""Several nodes on one port: a parent that owns the sockets, and a process for each node.

The parent keeps every listening socket open, so connections wait while a node that died is
replaced. Each node hangs on a socket pair, its leash: configuration comes in over it, the states
of sd_notify(3) go out, and its end means stop. So nodes also end when their parent is killed, and
a service manager that signals the whole group does not look like a second signal.

Knows processes, not what they do.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import msgspec

from aionotify import logs, node, systemd
from aionotify.config import Config
from aionotify.node import Listeners, Worker
from aionotify.siblings import Place
from aionotify.signals import on_signal

logger = logging.getLogger(__name__)

VARIABLE = "AIONOTIFY_WORKER"
"""Tells a process that it is a node: the descriptors of its leash and of its sockets."""

_FIRST_DELAY, _LAST_DELAY = 0.5, 30.0  # seconds before a node that died is replaced
_STEADY = 60.0  # seconds after which one that dies is no longer the same trouble
_GRACE = 15.0  # seconds beyond server.drain after which a node is stuck

_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID")  # what the service manager says to the parent alone


class _Inherited(msgspec.Struct):
    leash: int
    public: list[int]
    admin: list[int]
    kept: bool
    place: Place | None


def supervise(config: Config, listeners: Sequence[Listeners]) -> int:
    """Run a node on each of `listeners` until SIGTERM or SIGINT, and return the exit code.

    0 when every node came to an orderly end, 1 when one did not or a second signal has killed
    them, and that of a node which did not start.
    """
    return asyncio.run(_Parent(config).run(listeners))


def main() -> int:
    """Be the node that the parent has started; return the exit code."""
    inherited = msgspec.json.decode(os.environ.pop(VARIABLE), type=_Inherited)
    leash = socket.socket(fileno=inherited.leash)
    # Unbuffered: what comes after the first line is for the node.
    with leash.makefile("rb", buffering=0) as received:
        config = msgspec.json.decode(received.readline(), type=Config)
    # The parent says at which level to log; what is sent to all of a service is for it alone.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    leash.setblocking(False)  # a parent that hangs must not hold up the streams
    logs.configure(config.log)

    def tell(state: str) -> None:
        # The parent reads lines, and cares for the first word only.
        with contextlib.suppress(OSError):
            leash.send(state.partition("\n")[0].encode() + b"\n")

    public, admin = (
        [socket.socket(fileno=fd) for fd in fds] for fds in (inherited.public, inherited.admin)
    )
    listeners = Listeners(public, admin, inherited.kept)
    return node.serve(config, listeners, tell, Worker(leash, inherited.place))


class _Parent:
    """Starts nodes, replaces those that die, and ends with them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stopping = asyncio.Event()
        self._code = 0
        self._level = config.log.level
        self._waiting_for = config.server.workers
        self._processes: set[asyncio.subprocess.Process] = set()
        self._leashes: set[asyncio.StreamWriter] = set()
        self._statuses: dict[int, str] = {}
        self._patience = systemd.watchdog_interval()

    async def run(self, listeners: Sequence[Listeners]) -> int:
        on_signal((signal.SIGTERM, signal.SIGINT), self._on_signal)
        on_signal((signal.SIGUSR1,), self._toggle_debug)
        with _meeting_place() as directory:
            async with node.watched(systemd.notify), asyncio.TaskGroup() as group:
                for index, own in enumerate(listeners):
                    place = Place(directory, index, len(listeners)) if directory else None
                    group.create_task(self._keep(own, place), name=f"worker {index}")
        return self._code

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._kill()
        else:
            systemd.notify("STOPPING=1\nSTATUS=Ending the open streams")
            self._stop()

    def _toggle_debug(self) -> None:
        self._level = logs.toggle_debug(self._config.log)
        if not self._stopping.is_set():
            for leash in self._leashes:
                leash.write(f"{self._level}\n".encode())

    def _stop(self) -> None:
        self._stopping.set()
        for leash in self._leashes:
            leash.write_eof()
        patience = self._config.server.drain + _GRACE
        asyncio.get_running_loop().call_later(patience, self._kill)

    def _kill(self) -> None:
        self._code = 1
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self, listeners: Listeners, place: Place | None) -> None:
        """Run nodes on `listeners`, one after the other, until we stop."""
        delay, was_ready = _FIRST_DELAY, False
        while True:
            started = time.monotonic()
            code, ready = await self._run_node(listeners, place)
            if self._stopping.is_set():
                self._code = self._code or int(code != 0)
                return
            was_ready |= ready
            if not was_ready:
                # What keeps a node from starting at all does not go away by trying again.
                logger.error("a worker did not start", extra={"fields": {"code": code}})
                self._code = self._code or max(code, 1)
                self._stop()
                return
            if time.monotonic() - started > _STEADY:
                delay = _FIRST_DELAY
            fields = {"code": code, "replaced_after": delay}
            logger.error("a worker ended by itself", extra={"fields": fields})
            if await self._stopped_within(delay):
                return
            delay = min(2 * delay, _LAST_DELAY)

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _run_node(self, listeners: Listeners, place: Place | None) -> tuple[int, bool]:
        """Run one node to its end; return its exit code and whether it ever was ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            reader, leash = await asyncio.open_connection(sock=ours)
            with _deaf_to(signal.SIGUSR1):
                process = await _spawn(listeners, theirs, place)
        self._processes.add(process)
        self._leashes.add(leash)
        leash.write(msgspec.json.encode(self._config) + b"\n")
        leash.write(f"{self._level}\n".encode())
        if self._stopping.is_set():
            leash.write_eof()
        try:
            ready = await self._hear(reader, process.pid)
        except TimeoutError:
            logger.error("a worker hangs", extra={"fields": {"pid": process.pid}})
            process.kill()
            ready = True
        finally:
            code = await process.wait()
            self._processes.discard(process)
            self._leashes.discard(leash)
            self._statuses.pop(process.pid, None)
            leash.close()
        return code, ready

    async def _hear(self, reader: asyncio.StreamReader, pid: int) -> bool:
        """Listen to a node until it ends; raise TimeoutError when it is silent for too long."""
        ready = False
        while True:
            async with asyncio.timeout(self._patience if ready else None):
                line = await reader.readline()
            if not line:
                return ready
            if line == b"READY=1\n":
                ready = True
                self._one_is_ready()
            elif line.startswith(b"STATUS=") and not self._stopping.is_set():
                self._statuses[pid] = line.decode().strip().removeprefix("STATUS=")
                texts = [f"Worker {pid}: {text}" for pid, text in self._statuses.items()]
                systemd.notify(f"STATUS={'. '.join(texts)}")

    def _one_is_ready(self) -> None:
        self._waiting_for -= 1
        if self._waiting_for == 0:
            systemd.notify(f"READY=1\nSTATUS=Serving with {self._config.server.workers} workers")


@contextlib.contextmanager
def _deaf_to(number: signal.Signals) -> Iterator[None]:
    """Have what is started meanwhile be deaf to a signal, which would end it by default."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


@contextlib.contextmanager
def _meeting_place() -> Iterator[str | None]:
    """A directory that only our user may enter; None where none can be made."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd.exec(5)
    try:
        directory = tempfile.mkdtemp(prefix="aionotify-", dir=runtime or None)
    except OSError as error:
        fields = {"reason": str(error)}
        logger.warning("no directory for the workers' sockets", extra={"fields": fields})
        yield None
        return
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _spawn(
    listeners: Listeners, leash: socket.socket, place: Place | None
) -> asyncio.subprocess.Process:
    public, admin = ([sock.fileno() for sock in s] for s in (listeners.public, listeners.admin))
    inherited = _Inherited(leash.fileno(), public, admin, listeners.kept, place)
    environ = {name: value for name, value in os.environ.items() if name not in _OURS}
    command = (
        [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "aionotify"]
    )
    return await asyncio.create_subprocess_exec(
        *command,
        env=environ | {VARIABLE: msgspec.json.encode(inherited).decode()},
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=[leash.fileno(), *public, *admin],
    )
