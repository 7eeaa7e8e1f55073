"""The parts that can fail: a Redis that keeps what it says it has, and nodes behind proxies."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Self, cast

import aiohttp

from aionotify.config import InboxConfig
from tests.harness import MainHost, NotifyServer, RedisServer, TcpProxy

KEY = "publisher-key-0123456789"


class Node:
    """One server process, and the network between it and Redis."""

    def __init__(self, name: str, proxy: TcpProxy, settings: Mapping[str, object]) -> None:
        self.name = name
        self.proxy = proxy
        self.server = NotifyServer({**settings, "redis.url": proxy.url})
        self.up = False

    @property
    def url(self) -> str:
        return self.server.url

    async def start(self) -> None:
        await self.server.start()
        self.up = True

    async def kill(self) -> None:
        """SIGKILL."""
        self.up = False
        await self.server.kill()

    async def terminate(self) -> int:
        """SIGTERM, and wait for its end."""
        self.up = False
        return await self.server.terminate()

    async def metric(self, name: str) -> float:
        """The value of one of its metrics, without labels."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
            session.get(f"{self.url}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        [value] = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
        return float(value)

    def freeze(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        os.kill(self.server.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.server.pid, signal.SIGCONT)


class World:
    """A persistent Redis, a main host, and nodes; all there between enter and exit.

    `settings` are those of every node, as for `NotifyServer`; `inbox` is for publishers of one's
    own, who have to agree with the nodes.
    """

    def __init__(
        self, directory: Path, nodes: int = 2, settings: Mapping[str, object] | None = None
    ) -> None:
        self.redis = RedisServer(directory, persistent=True)
        self.nodes: list[Node] = []
        self._count = nodes
        self._settings: dict[str, object] = {
            "admin.publish_keys": [KEY],
            "inbox.max_events": 20000,  # a gap is then never due to too small an inbox
            "server.drain": 1,
            "log.level": "warning",
            **(settings or {}),
        }
        self.inbox = InboxConfig(max_events=cast("int", self._settings["inbox.max_events"]))
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            plain = running.enter_context(ExitStack())
            plain.enter_context(self.redis)
            main_host = plain.enter_context(MainHost())
            settings = {**self._settings, "auth.main_host.url": main_host.url}
            for number in range(self._count):
                proxy = await running.enter_async_context(TcpProxy(self.redis.port))
                node = Node(f"node {number + 1}", proxy, settings)
                running.push_async_callback(node.server.aclose)
                self.nodes.append(node)
            await asyncio.gather(*(node.start() for node in self.nodes))
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    def tracebacks(self) -> list[str]:
        """What the nodes logged, of those that logged an error of the program."""
        logs = (str(node.server) for node in self.nodes)
        return [text for text in logs if "Traceback" in text]
