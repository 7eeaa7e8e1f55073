"""A restart on a socket that stays: whoever connects meanwhile waits, and is then served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.deploy.node import Node
from tests.harness import MainHost, RedisServer, SSEClient, eventually


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_restart_refuses_no_connection(
    workers: int, redis_server: RedisServer, main_host: MainHost
) -> None:
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.drain": 1,
        "server.workers": workers,
    }
    async with Node(settings, handed=True) as node:
        await node.start()
        statuses: list[int] = []
        client = SSEClient(f"{node.url}/notify", token="token-42")
        async with client, visited(node.url, statuses):
            await eventually(lambda: len(statuses) > 20)
            assert await node.end() == 0
            assert await client.wait_end() == "complete"
            comeback = asyncio.create_task(client.reconnect(timeout=20))
            before = len(statuses)
            await node.start()
            await comeback
            assert client.status == 200
            await eventually(lambda: len(statuses) > before + 20)
        assert set(statuses) == {200}


@asynccontextmanager
async def visited(url: str, statuses: list[int]) -> AsyncIterator[None]:
    """Ask all the time, over new connections and over one that is kept, and note the statuses."""
    done = asyncio.Event()

    async def ask(connector: aiohttp.TCPConnector) -> None:
        async with aiohttp.ClientSession(connector=connector) as session:
            while not done.is_set():
                async with session.get(f"{url}/healthz") as response:
                    statuses.append(response.status)
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask(aiohttp.TCPConnector(force_close=True)))
        group.create_task(ask(aiohttp.TCPConnector()))
        yield
        done.set()
