"""What ``systemctl status`` shows: how many streams there are, and what is wrong."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.deploy.node import Node
from tests.harness import MainHost, RedisServer, SSEClient, eventually


class Manager:
    """Hears what a service tells about itself."""

    def __init__(self, path: Path) -> None:
        self.status = ""
        self.path = str(path)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.path)
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._hear)

    def _hear(self) -> None:
        for line in self._sock.recv(4096).decode().split("\n"):
            if line.startswith("STATUS="):
                self.status = line.removeprefix("STATUS=")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


async def test_the_status_tells_streams_and_what_is_wrong(
    manager: Manager, own_redis: RedisServer, main_host: MainHost
) -> None:
    settings = {"redis.url": own_redis.url, "auth.main_host.url": main_host.url, "server.drain": 1}
    async with Node(settings, environ={**os.environ, "NOTIFY_SOCKET": manager.path}) as node:
        await node.start()
        async with SSEClient(f"{node.url}/notify", token="token-42"):
            await eventually(lambda: manager.status == "Open streams: 1; subscribed to Redis")
            own_redis.stop()
            await eventually(lambda: manager.status.startswith("Open streams: 1; redis: "))
        assert await node.end() == 0
        assert manager.status == "Ending the open streams"


async def test_the_status_is_that_of_every_worker(
    manager: Manager, redis_server: RedisServer, main_host: MainHost
) -> None:
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.workers": 2,
        "server.drain": 1,
    }
    async with Node(settings, environ={**os.environ, "NOTIFY_SOCKET": manager.path}) as node:
        await node.start()
        async with SSEClient(f"{node.url}/notify", token="token-42"):
            await eventually(lambda: manager.status.count("subscribed to Redis") == 2)
            await eventually(lambda: "Open streams: 1;" in manager.status)
            assert manager.status.count("Worker ") == 2
        assert await node.end() == 0
