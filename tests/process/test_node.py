"""One node from its start to its end, as far as it takes no process of its own.

Everything else about it is tests/integration/test_process.py.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from aionotify.process import node

REQUEST = b"GET /%b HTTP/1.1\r\nHost: node\r\n\r\n"


class Leaving:
    """A server of aiohttp's, and connections to it."""

    def __init__(self, runner: web.AppRunner) -> None:
        self.runner = runner
        self.entered = asyncio.Event()
        self.may_answer = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.runner.addresses[0][:2]
        reader, writer = await asyncio.open_connection(host, port)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def leaving() -> AsyncIterator[Leaving]:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/slow":
            server.entered.set()
            await server.may_answer.wait()
        return web.Response(text="answered")

    app = web.Application()
    app.router.add_get("/{path}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    server = Leaving(runner)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield server
    finally:
        server.close()
        await runner.cleanup()


async def test_handing_over_closes_a_connection_that_waits_for_a_request(leaving: Leaving) -> None:
    """Whoever keeps one makes it anew, and is heard by the next node."""
    reader, writer = await leaving.connect()
    writer.write(REQUEST % b"quick")
    await reader.readuntil(b"answered")
    silent, _ = await leaving.connect()
    await node._stop_accepting(leaving.runner)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
        assert await silent.read() == b""


async def test_handing_over_leaves_time_for_an_answer(leaving: Leaving) -> None:
    """A request that was there before is answered, and then its connection is closed."""
    reader, writer = await leaving.connect()
    writer.write(REQUEST % b"slow")
    await leaving.entered.wait()
    await node._stop_accepting(leaving.runner)
    leaving.may_answer.set()
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"answered")
