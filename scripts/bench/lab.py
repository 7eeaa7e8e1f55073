"""What all scenarios are given: a Redis, processes, and what was asked for on the command line."""

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from aionotify.broker.embedded.server import EmbeddedServer
from scripts.bench.control import Child, child
from scripts.bench.load import Load, load_generator
from scripts.bench.server import Usage

NODE = "node"  # the name of the node in a server that has just one
REQUEST = "GET /notify?u={} HTTP/1.1\r\nHost: bench\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured.

    Attributes:
        streams: open ones, in scenarios where they stay open.
        resumed: streams that come back at once.
        handshakes: streams opened in each round, of each kind.
        rate: ephemeral events per second.
        durable_rate: durable ones; less, for they are published from this process, in Python.
        broadcasts: per second.
        rounds: of each measurement, ours and the baseline taking turns.
        seconds: for which events are published in a round.
        loop: the server's event loop: auto, uvloop or asyncio.
        log_level: the server's; its log goes to /dev/null.
    """

    streams: int
    resumed: int
    handshakes: int
    published: int
    rate: float
    durable_rate: float
    broadcasts: float
    rounds: int
    seconds: float
    loop: str
    log_level: str


@dataclass(frozen=True, slots=True)
class Lab:
    """What a scenario works with.

    Attributes:
        redis: a client, for what is not measured.
        step: called with what begins now.
    """

    options: Options
    redis: Redis
    redis_port: int
    step: Callable[[str], None]

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def config(self, **sections: dict[str, Any]) -> dict[str, Any]:
        """The configuration of a node: the default one but for where Redis is, and heartbeats.

        A heartbeat costs as much as an event, and would be charged to whatever is measured.
        """
        return {
            "redis": {"url": self.redis_url},
            "stream": {"heartbeat": 90},
            "server": {"max_streams_per_user": 0},
            **sections,
        }

    async def redis_cpu(self) -> float:
        """CPU seconds that Redis has used so far."""
        used = await self.redis.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def users(self, count: int | None = None) -> list[str]:
        """User ids in random order, the same in each run."""
        users = [f"user-{number:06d}" for number in range(count or self.options.streams)]
        random.Random(1).shuffle(users)
        return users

    @asynccontextmanager
    async def processes(self) -> AsyncIterator[tuple[Child, Load]]:
        """A server process and a load generator, and an empty Redis."""
        await self.redis.flushall()
        options = self.options
        async with (
            child("scripts.bench.server", options.loop, options.log_level) as server,
            load_generator() as load,
        ):
            yield server, load

    @asynccontextmanager
    async def node(self, users: list[str]) -> AsyncIterator[tuple[Child, Load]]:
        """The same, with a node that has a live stream for each of `users`."""
        async with self.processes() as (server, load):
            self.step(f"opening {len(users):,} streams")
            port = await server.ask(int, "serve", name=NODE, config=self.config())
            await self.open(server, load, port, users)
            yield server, load

    async def open(
        self,
        server: Child,
        load: Load,
        port: int,
        values: list[str],
        request: str = REQUEST,
        *,
        beside: int = 0,
    ) -> tuple[float, Usage]:
        """Open streams, `beside` others; the seconds it took, and the usage when all are live."""
        opened = await load.open(port, request, values)
        return opened, await server.ask(Usage, "until", streams=beside + len(values))

    async def close(self, server: Child, load: Load) -> None:
        """Close all streams, and have the server forget them."""
        await load.close()
        await server.ask(Usage, "until", streams=0)
        await server.ask(Usage, "tidy")


@asynccontextmanager
async def lab(options: Options, step: Callable[[str], None]) -> AsyncIterator[Lab]:
    """A lab with a Redis of its own: the bundled Valkey, on TCP as Redis usually is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with AsyncExitStack() as undo:
        server = EmbeddedServer(tcp_port=port)
        await server.start()
        undo.push_async_callback(server.stop)
        redis = Redis(port=port, protocol=2)
        undo.push_async_callback(redis.aclose)
        yield Lab(options, redis, port, step)
