"""Real server processes; they bring an event loop of their own, so the tests' matters little."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import pytest

from tests.harness import MainHost, NotifyServer, RedisServer

Serve = Callable[..., Awaitable[NotifyServer]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test here once."""
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
async def serve(redis_server: RedisServer, main_host: MainHost) -> AsyncIterator[Serve]:
    """Start servers, given settings as for `NotifyServer`, on the shared Redis and main host.

    Keywords go to `NotifyServer.start`. Fails a test in which a server logged a traceback.
    """
    defaults = {"redis.url": redis_server.url, "auth.main_host.url": main_host.url}
    servers: list[NotifyServer] = []
    async with AsyncExitStack() as running:

        async def start(
            settings: Mapping[str, object] | None = None,
            *,
            until: str | None = "/readyz",
            timeout: float = 10,
        ) -> NotifyServer:
            server = NotifyServer({**defaults, **(settings or {})})
            servers.append(server)
            running.push_async_callback(server.aclose)
            await server.start(until=until, timeout=timeout)
            return server

        yield start
    broken = [server for server in servers if any("Traceback" in line for line in server.logs)]
    assert not broken, f"a server logged a traceback:\n{broken[0]}"
