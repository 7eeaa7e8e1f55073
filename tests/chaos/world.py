"""The parts that can fail: a Redis that keeps what it says it has, and nodes behind proxies.

Where there is a pair of them, some nodes ask the Sentinel for the master, and the proxies of the
others are addresses that move.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Self, cast

import aiohttp
import msgspec
from redis.asyncio import Redis

from aionotify.broker.keys import Keys
from aionotify.config import InboxConfig
from aionotify.events.group import GroupId
from tests.chaos.pair import Pair
from tests.harness import Clock, MainHost, NotifyServer, RedisServer, TcpProxy

KEY = "publisher-key-0123456789"
GROUP = "team:"  # what the names of groups begin with, and no user's
_KEYS = Keys("aionotify")


_LAST = 3000  # events of an inbox: more than are published while something goes wrong


def is_group(recipient: str) -> bool:
    """Whether it is a group that this names."""
    return recipient.startswith(GROUP)


class _Numbered(msgspec.Struct):
    n: dict[str, int]


class Node:
    """One server process, and the network between it and Redis.

    Attributes:
        proxy: that network, or None where it goes to whichever Redis it is told of.
    """

    def __init__(
        self,
        name: str,
        url: str,
        proxy: TcpProxy | None,
        settings: Mapping[str, object],
        clock: Clock | None,
    ) -> None:
        self.name = name
        self.proxy = proxy
        self.server = NotifyServer({**settings, "redis.url": url}, clock=clock)
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

    Attributes:
        pair: with a replica and a Sentinel, where it was made `with_replica`; else None.
        addresses: what publishers go by, each in its own way.
    """

    def __init__(
        self,
        directory: Path,
        nodes: int = 2,
        settings: Mapping[str, object] | None = None,
        *,
        with_replica: bool = False,
    ) -> None:
        self.pair = Pair(directory) if with_replica else None
        self._directory = directory
        self._redis = RedisServer(directory, persistent=True)
        self.nodes: list[Node] = []
        self._count = nodes
        self._settings: dict[str, object] = {
            "admin.publish_keys": [KEY],
            "inbox.max_events": 20000,  # a gap is then never due to too small an inbox
            "inbox.idempotency": 86400,  # though a clock is set forward by an hour
            "server.drain": 1,
            "log.level": "warning",
            **(settings or {}),
        }
        limits = {
            name: cast("int", self._settings[f"inbox.{name}"])
            for name in ("max_events", "idempotency")
        }
        self.inbox = InboxConfig(**limits)
        self.addresses: list[str] = []
        self.groups: dict[str, list[str]] = {}  # of users
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            plain = running.enter_context(ExitStack())
            if self.pair is not None:
                await running.enter_async_context(self.pair)
                self.addresses.append(self.pair.url)
            else:
                plain.enter_context(self._redis)
                self.addresses.append(self.redis.url)
            main_host = plain.enter_context(MainHost())
            for user, groups in self.groups.items():
                main_host.answers[f"token-{user}"] = {"user_id": user, "groups": groups}
            settings = {**self._settings, "auth.main_host.url": main_host.url}
            for number in range(self._count):
                if self.pair is not None and number % 3 == 1:
                    proxy, url = None, self.pair.url
                else:
                    proxy = await running.enter_async_context(TcpProxy(self.redis.port))
                    url = proxy.url
                clock = self._wrong_clock(number)
                node = Node(f"node {number + 1}", url, proxy, settings, clock)
                running.push_async_callback(node.server.aclose)
                self.nodes.append(node)
            if self.pair is not None:
                self.pair.addresses = self.proxies
            await asyncio.gather(*(node.start() for node in self.nodes))
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    def _wrong_clock(self, number: int) -> Clock | None:
        """Of a node, where clocks can be set: no node is right."""
        if self.pair is None or self.pair.clocks is not None:
            return None
        directory = self._directory / f"node-{number + 1}"
        directory.mkdir()
        clock = Clock(directory)
        clock.set((-3000, 3000, -30, 30)[number % 4])
        return clock

    @property
    def redis(self) -> RedisServer:
        """The one that is the master."""
        return self._redis if self.pair is None else self.pair.master

    @property
    def proxies(self) -> list[TcpProxy]:
        return [node.proxy for node in self.nodes if node.proxy is not None]

    async def kept(self, recipients: Sequence[str]) -> dict[str, dict[int, int]]:
        """The last events that are in inboxes: the numbers of each recipient's, and where."""
        found: dict[str, dict[int, int]] = {}
        async with Redis(port=self.redis.port, protocol=2) as redis:
            for id in recipients:
                name = _KEYS.inbox(GroupId(id) if is_group(id) else id)
                entries: list[bytes] = await redis.lrange(name, -_LAST, -1)  # type: ignore[assignment]
                found[id] = {}
                for entry in entries:
                    position, _, event = entry.split(b" ", 2)
                    event = event[event.index(b"{") :]
                    found[id][msgspec.json.decode(event, type=_Numbered).n[id]] = int(position)
        return found

    def tracebacks(self) -> list[str]:
        """What the nodes logged, of those that logged an error of the program."""
        logs = (str(node.server) for node in self.nodes)
        return [text for text in logs if "Traceback" in text]
