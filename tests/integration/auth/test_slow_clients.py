"""Clients that take their time, or send more than they should: what one of them can tie up."""

import asyncio
import contextlib
import io
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aionotify import create_app
from aionotify.config import Config
from aionotify.process import sockets
from aionotify.process.http_log import ConnectionLog
from aionotify.process.node import RUNNER_OPTIONS
from tests.embedded import TokenIsUser
from tests.harness import RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import cpu_seconds, resident_bytes

KEY = "publisher-key-0123456789"
STREAM = b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n\r\n"

Start = Callable[..., Awaitable[web.AppRunner]]


@pytest.fixture
async def start(redis_server: RedisServer) -> AsyncIterator[Start]:
    """Start a server in this process, as in production but for the options given."""
    runners: list[web.AppRunner] = []
    config = {"redis": {"url": redis_server.url}, "server": {"drain": 0}}

    async def start(**options: Any) -> web.AppRunner:
        app = create_app(Config.from_mapping(config), TokenIsUser())
        runner = web.AppRunner(app, logger=ConnectionLog(), **{**RUNNER_OPTIONS, **options})
        runners.append(runner)
        await runner.setup()
        ((sock,),) = sockets.listen("127.0.0.1", 0)
        sockets.tune(sock)
        await web.SockSite(runner, sock).start()
        return runner

    yield start
    for runner in runners:
        await runner.cleanup()


async def connect(runner: web.AppRunner) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])


async def drip_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then until the other side closes, politely or not."""

    async def drip() -> None:
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(65536):
                    pass
    finally:
        writer.close()
        await dripping


def connections(runner: web.AppRunner) -> int:
    assert runner.server is not None
    return len(runner.server.connections)


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_head_that_never_ends_ends_the_connection(start: Start, before: bytes) -> None:
    """However steadily it drips, and also behind a request that was answered."""
    runner = await start(keepalive_timeout=0.5)
    reader, writer = await connect(runner)
    writer.write(before + b"GET /notify HTTP/1.1\r\nHost: x\r\nX: ")
    await drip_until_closed(reader, writer)
    await eventually(lambda: connections(runner) == 0)


def test_the_time_for_a_head_is_bounded_and_a_proxy_closes_before_us() -> None:
    assert 60 < RUNNER_OPTIONS["keepalive_timeout"] <= 75


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_UNTAKEN", 300)
    runner = await start()
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", runner.addresses[0][1]))
        client.setblocking(False)
        await eventually(lambda: connections(runner) == 1)

        def ask_and_do_not_read() -> bool:
            try:
                client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            except BlockingIOError:
                pass
            except ConnectionError:
                return True
            return connections(runner) == 0

        await eventually(ask_and_do_not_read)


async def test_a_body_that_nobody_reads_ends_with_the_answer(start: Start) -> None:
    """It was refused without reading it, and what drips in is read for two seconds at most."""
    runner = await start(lingering_time=0.3)
    reader, writer = await connect(runner)
    writer.write(b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403")
    await drip_until_closed(reader, writer)
    await eventually(lambda: connections(runner) == 0)


async def test_the_body_of_a_publisher_has_a_time_too(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.web.publish._BODY_SECONDS", 0.2)
    monkeypatch.setattr("aionotify.web.publish.key_holder", lambda request, right: None)
    runner = await start(lingering_time=0.1)
    reader, writer = await connect(runner)
    writer.write(b"POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"408"
        await reader.read()
    writer.close()
    await eventually(lambda: connections(runner) == 0)


async def test_requests_behind_a_stream_take_no_memory_and_end_it(serve: Serve) -> None:
    """Kept as requests to be answered later, each could be a megabyte, at 32 to a connection."""
    server = await serve()
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(STREAM)
    async with asyncio.timeout(10):
        await reader.readuntil(b"aionotify.open")
        before = resident_bytes(server.pid)
        fields = b"".join(b"X-%d: " % n + b"x" * 8000 + b"\r\n" for n in range(100))
        with contextlib.suppress(ConnectionError):
            for _ in range(32):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
                await writer.drain()
            await reader.read()
    assert resident_bytes(server.pid) - before < 10_000_000
    await eventually(lambda: any("reason=unexpected_data" in line for line in server.logs))
    writer.close()


async def test_a_compressed_body_is_not_unpacked(serve: Serve) -> None:
    """A megabyte of it can be a gigabyte, with which an event loop is busy for seconds."""
    server = await serve({"admin.publish_keys": [KEY]})
    before = cpu_seconds(server.pid)
    headers = {"Content-Encoding": "gzip", "Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session:
        for path in ("/notify/ticket", "/publish"):
            sent = session.post(server.url + path, data=io.BytesIO(bomb()), headers=headers)
            async with sent as response:
                assert response.status in (403, 401, 415)
        async with session.get(server.url + "/healthz") as response:
            assert response.status == 200
    assert cpu_seconds(server.pid) - before < 0.5


def bomb() -> bytes:
    """One gigabyte of zeros."""
    packing, zeros = zlib.compressobj(9, wbits=31), bytes(10_000_000)
    # After a full flush a block says nothing of what was before it, and so can be repeated.
    first, again = (packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 99
