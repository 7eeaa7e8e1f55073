"""The demo's server: one process after the other, on one socket."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from aionotify.config import AuthConfig, Config, RedisConfig, ServerConfig
from aionotify.demo.server_process import ServerBusy, ServerFailed, ServerProcess
from aionotify.process.sockets import address_of
from tests.harness import RedisServer, eventually


@pytest.fixture
async def server(redis_server: RedisServer) -> AsyncIterator[ServerProcess]:
    config = Config(redis=RedisConfig(url=redis_server.url), server=ServerConfig(drain=0.2))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = ServerProcess(config, [sock], downtime=0.1)
        try:
            await server.start()
            yield server
        finally:
            await server.stop()
            assert server.pid is None


async def is_alive(server: ServerProcess) -> bool:
    """Whether it answers; while it is down, the request waits."""
    url = f"{address_of(server._sockets.public[0])}/healthz"
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
        return answer.status == 200


@pytest.mark.parametrize(("does", "number"), [("restart", "SIGTERM"), ("kill", "SIGKILL")])
async def test_another_process_takes_the_place_of_the_one_that_is_ended(
    does: str, number: str, server: ServerProcess
) -> None:
    process, before = server._process, server.pid
    change = asyncio.create_task(getattr(server, does)())
    await eventually(lambda: server.pid != before)
    assert await is_alive(server)
    assert await change > 0
    assert process is not None
    # After SIGTERM it ends in order.
    assert process.returncode == {"SIGTERM": 0, "SIGKILL": -signal.SIGKILL}[number]
    assert server.pid not in (None, before)


async def test_a_server_is_not_ended_twice_at_a_time(server: ServerProcess) -> None:
    change = asyncio.create_task(server.kill())
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy, match="already"):
        await server.restart()
    await change


async def test_a_stop_ends_what_is_under_way(server: ServerProcess) -> None:
    change = asyncio.create_task(server.kill())
    await asyncio.sleep(0)
    await server.stop()
    assert server.pid is None
    with pytest.raises(asyncio.CancelledError):
        await change


async def test_a_process_that_somebody_else_has_ended_is_started_again(
    server: ServerProcess,
) -> None:
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: server.pid not in (None, before))
    assert await is_alive(server)


async def test_a_server_that_does_not_start_is_told() -> None:
    config = replace(Config(), auth=AuthConfig(method="jwt"))  # and no key
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = ServerProcess(config, [sock])
        with pytest.raises(ServerFailed, match="did not start"):
            await server.start()
        assert server.pid is None
