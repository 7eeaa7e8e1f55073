"""The servers that are compared, each with a Redis and clients of its own."""

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from typing import Self

from joserfc import jwt
from joserfc.jwk import OctKey
from redis.asyncio import Redis

from aionotify.broker.embedded.server import EmbeddedServer
from scripts.bench import processes
from scripts.bench.load import Load, load_generator
from scripts.bench.pace import RawPublisher, ephemeral_message, message

PUBLISH_KEY = "a-key-with-which-a-benchmark-publishes"
_SECRET = "a secret that signs the tokens of a benchmark"
_HERE = Path(__file__).parent
_SERVICES = _HERE.parents[1] / "build" / "services"
_NCHAN = "usr/lib/nginx/modules/ngx_nchan_module.so"
_STARTS_WITHIN = 30.0  # seconds
_REQUEST = "GET /notify?u={} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
_WITH_TOKEN = (
    "GET /notify HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n"
    "Authorization: Bearer {}\r\n\r\n"
)

Event = tuple[str, int]
"""A recipient, or ``*`` for everyone, and a number that grows from event to event."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that runs.

    Attributes:
        publish: has events delivered, without waiting for anything.
        redis_port: of its Redis.
        redis_pid: likewise; None when it has none.
    """

    name: str
    pid: int
    port: int
    load: Load
    publish: Callable[[Iterable[Event]], None]
    redis_port: int
    redis_pid: int | None

    async def open(self, users: Sequence[str]) -> float:
        """Open a stream for each of `users`; return the seconds until all had an answer."""
        if self.name.startswith("aionotify"):
            return await self.load.open(self.port, _WITH_TOKEN, map(_token, users))
        return await self.load.open(self.port, _REQUEST, users)

    def cpu(self) -> float:
        """Seconds of CPU that the server has used so far, in all its processes."""
        return processes.cpu(self.pid)

    def redis_cpu(self) -> float:
        return 0.0 if self.redis_pid is None else processes.cpu(self.redis_pid)

    def pss(self) -> int:
        return processes.pss(self.pid)


@asynccontextmanager
async def contender(name: str) -> AsyncIterator[Contender]:
    """Run one of NAMES until the block is left.

    Raises:
        OSError: it does not start.
    """
    async with AsyncExitStack() as undo:
        port, redis_port = processes.free_port(), processes.free_port()
        directory = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        redis_pid = None
        publish: Callable[[Iterable[Event]], None]
        if name != "nchan":
            redis = EmbeddedServer(tcp_port=redis_port)
            await redis.start()
            undo.push_async_callback(redis.stop)
            async with Redis(port=redis_port, protocol=2) as client:
                redis_pid = int((await client.info("server"))["process_id"])
        command, environ = COMMANDS[name](port, redis_port, directory)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ | environ,
            cwd=_HERE.parents[1],
            start_new_session=True,  # a Ctrl-C is for us
        )
        undo.push_async_callback(_end, process)
        await _answering(name, process, port)
        if name == "nchan":
            publish = undo.enter_context(_PostPublisher(port)).publish
        else:
            publisher = undo.enter_context(RawPublisher(redis_port))
            address = ephemeral_message if name.startswith("aionotify") else _plain_message

            def publish(events: Iterable[Event]) -> None:
                publisher.publish(address(recipient, number) for recipient, number in events)

        load = await undo.enter_async_context(load_generator())
        yield Contender(name, process.pid, port, load, publish, redis_port, redis_pid)


def nchan_module() -> Path | None:
    """Where nginx's module is, if it is anywhere."""
    places = (Path("/", _NCHAN), _SERVICES / "root" / _NCHAN)
    return next((place for place in places if place.exists()), None)


def names() -> list[str]:
    """Those that can be compared on this machine."""
    return [name for name in COMMANDS if name != "nchan" or nchan_module() is not None]


def _plain_message(recipient: str, number: int) -> tuple[bytes, bytes]:
    return b"user:" + recipient.encode(), message(recipient, number)


def _token(user: str) -> str:
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(_SECRET))


# --- how each is started ------------------------------------------------------------------------

Command = tuple[list[str], dict[str, str]]
"""What is run, and what is added to the environment."""


def _aionotify(workers: int) -> Callable[[int, int, Path], Command]:
    def command(port: int, redis_port: int, _: Path) -> Command:
        settings = {
            "SERVER__PORT": str(port),
            "SERVER__WORKERS": str(workers),
            "SERVER__MAX_STREAMS_PER_USER": "0",
            "REDIS__URL": f"redis://127.0.0.1:{redis_port}/0",
            "STREAM__HEARTBEAT": "90",  # seconds; a heartbeat costs as much as an event
            "AUTH__METHOD": "jwt",
            "AUTH__JWT__KEY": _SECRET,
            "AUTH__JWT__ALGORITHMS": '["HS256"]',
            "ADMIN__PUBLISH_KEYS": f'["{PUBLISH_KEY}"]',
            "LOG__LEVEL": "warning",
        }
        environ = {f"AIONOTIFY_{name}": value for name, value in settings.items()}
        return [sys.executable, "-m", "aionotify", "serve"], environ

    return command


def _program(name: str) -> Callable[[int, int, Path], Command]:
    def command(port: int, redis_port: int, _: Path) -> Command:
        module = f"scripts.bench.rivals.{name}"
        return [sys.executable, "-m", module, str(port), str(redis_port)], {}

    return command


def _nginx(port: int, _: int, directory: Path) -> Command:
    module = nchan_module()
    assert module is not None, "names() has no nchan without it"
    # The module makes a directory whose name is compiled in, and refuses the directive that would
    # set another one as a duplicate. So it gets one of the same length, below our own directory.
    copy = directory / module.name
    copy.write_bytes(module.read_bytes().replace(b"/var/lib/nginx/body", b"published-messages_"))
    config = directory / "nginx.conf"
    template = (_HERE / "rivals" / "nchan.conf").read_text()
    for word, value in (("MODULE", copy), ("DIRECTORY", directory), ("PORT", port)):
        template = template.replace(word, str(value))
    config.write_text(template)
    unpacked = _SERVICES / "bin" / "nginx"
    program = str(unpacked) if unpacked.exists() else "nginx"
    return [program, "-p", str(directory), "-c", str(config), "-e", "stderr"], {}


COMMANDS: dict[str, Callable[[int, int, Path], Command]] = {
    "floor": _program("floor"),
    "aionotify": _aionotify(1),
    "nchan": _nginx,
    "aiohttp-sse": _program("queues"),
    "FastAPI": _program("tutorial"),
    "aionotify, 2 workers": _aionotify(2),
}


async def _answering(name: str, process: asyncio.subprocess.Process, port: int) -> None:
    for _ in range(int(_STARTS_WITHIN * 20)):
        await asyncio.sleep(0.05)
        if process.returncode is not None:
            break
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            continue
        writer.close()
        return
    raise OSError(f"{name} does not start")


async def _end(process: asyncio.subprocess.Process) -> None:
    for pid in processes.tree(process.pid) if process.returncode is None else []:
        os.kill(pid, 9)  # in order it could take minutes, with its streams
    await process.wait()


class _PostPublisher:
    """``POST /publish`` on one connection; a thread reads the answers; nobody waits for them."""

    def __init__(self, port: int) -> None:
        self._socket = create_connection(("127.0.0.1", port))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def publish(self, events: Iterable[Event]) -> None:
        self._socket.sendall(b"".join(self._post(*event) for event in events))

    def _post(self, recipient: str, number: int) -> bytes:
        body = message(recipient, number)
        channel = b"everyone" if recipient == "*" else recipient.encode()
        head = b"POST /publish?u=%b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n"
        return head % (channel, len(body)) + body

    def _read(self) -> None:
        while self._socket.recv(1 << 16):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):  # who has lost it has said so already
            self._socket.shutdown(2)
        self._reader.join()
        self._socket.close()
