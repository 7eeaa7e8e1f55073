"""What aionotify and others cost beside each other, taking turns: CPU of all processes, and memory.

CPU time is not wall time: what else a machine does makes a server slower, and dearer only by what
it does to caches. Contenders take turns, so that it does so to all of them.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from scripts.bench.contenders import PUBLISH_KEY, Contender, contender, names
from scripts.bench.delivery import everything
from scripts.bench.pace import message, pace
from scripts.bench.post import post_each, post_lines
from scripts.bench.record import Point, Record

T = TypeVar("T")

HANDSHAKE = "CPU per handshake, µs"
MEMORY = "memory per stream, KiB"
KEPT = "memory kept per stream, KiB"
CPU = "CPU per delivery, µs"
REDIS = "CPU of Redis per delivery, µs"
CLIENTS = "CPU of the clients per delivery, µs"
P50, P99 = "latency p50, ms", "latency p99, ms"
RATE = "deliveries per second"
LOST = "lost or repeated"
PUBLISH = "CPU per event, µs"
PUBLISH_REDIS = "CPU of Redis per event, µs"
PUBLISH_RATE = "events per second"
FLOOD = 0.0
"""The rate of events that come as fast as they can be published."""
WORKERS = "aionotify, 2 workers"
_QUIET = 10.0  # seconds without anything new, after which what is missing is lost


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        steps: streams that are open when memory is looked at.
        few: the same for a contender that has a connection to Redis for each, and takes long.
        rates: events a second.
        flood: events at once; Redis cuts off a subscriber that is 32 MB behind.
        seconds: of a round.
    """

    rounds: int = 3
    steps: Sequence[int] = (1000, 5000, 15_000)
    few: Sequence[int] = (1000, 2000)
    streams: int = 5000
    fanouts: Sequence[int] = (1, 10, 100, 1000, 5000)
    deliveries: float = 5000
    rates: Sequence[float] = (1000, 2000, 5000, 10_000, 20_000, 40_000, FLOOD)
    flood: int = 40_000
    posted: int = 4000
    post_rate: float = 2000
    seconds: float = 1.5


QUICK = Size(
    rounds=1,
    steps=(200, 400),
    few=(200, 400),
    streams=500,
    fanouts=(1, 10, 500),
    rates=(1000, 5000, FLOOD),
    flood=5000,
    posted=500,
    seconds=0.5,
)


@dataclass(slots=True)
class Comparison:
    """One run, and what it has found so far; `keep` is called after each scenario."""

    record: Record
    size: Size
    step: Callable[[str], None]
    keep: Callable[[], None]
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def run(self) -> None:
        """Measure everything that the record has not."""
        for scenario in (self.load, self.fanout, self.streams, self.workers, self.publish):
            if scenario.__name__ in self.record.load:
                continue
            self.record.begin(scenario.__name__)
            await scenario()
            self.keep()

    # --- scenarios --------------------------------------------------------------------------------

    async def streams(self) -> None:
        """Memory and handshakes; and what an event costs beside few and many idle streams."""
        for turn, name in self._turns(names()):
            async with contender(name) as server:
                steps = self.size.few if name == "FastAPI" else self.size.steps
                await server.open([f"first-{number}" for number in range(20)])
                await asyncio.sleep(0.5)
                without, opened = server.pss(), 0
                for step in steps:
                    self.step(f"memory, round {turn}: {step:,} streams of {name}")
                    users = [f"user-{number}" for number in range(opened, step)]
                    before = server.cpu()
                    await server.open(users)
                    await asyncio.sleep(1)  # some subscribe after they have answered
                    cpu = (server.cpu() - before) / len(users) * 1e6
                    self._add("streams", server, step, HANDSHAKE, cpu)
                    memory = (server.pss() - without) / step / 1024
                    self._add("streams", server, step, MEMORY, memory)
                    opened = step
                    if step in (steps[0], steps[-1]):
                        recipients = [f"user-{number}" for number in range(steps[0])]
                        await self._deliver("streams", server, step, recipients, 2000)
                await server.load.close()
                await asyncio.sleep(2)
                self._add("streams", server, opened, KEPT, (server.pss() - without) / opened / 1024)

    async def fanout(self) -> None:
        """Events for users with 1 to 1,000 streams each, and for everyone."""
        users: dict[int, list[str]] = {}
        *some, everyone = self.size.fanouts
        for streams in reversed(some[1:]):
            users[streams] = [f"of-{streams}-{n}" for n in range(max(1, everyone // 5 // streams))]
        taken = sum(streams * len(named) for streams, named in users.items())
        users[1] = [f"of-1-{number}" for number in range(everyone - taken)]
        users[everyone] = ["*"]
        opened = [u for streams, named in users.items() if named != ["*"] for u in named * streams]
        random.Random(1).shuffle(opened)
        async with self._opened([n for n in names() if n != WORKERS], opened) as servers:
            for turn, streams in self._turns(self.size.fanouts):
                for server in servers:
                    self.step(f"fan-out, round {turn}: {streams:,}, {server.name}")
                    rate = self.size.deliveries / streams
                    await self._deliver("fanout", server, streams, users[streams], rate, streams)

    async def load(self) -> None:
        """Events for one user each, more and more of them, until they come too late."""
        users = [f"user-{number}" for number in range(self.size.streams)]
        overloaded: dict[str, float] = {}
        async with self._opened([n for n in names() if n != WORKERS], users) as servers:
            for turn, rate in self._turns(self.size.rates):
                for server in servers:
                    if rate > overloaded.get(server.name, rate):
                        continue
                    self.step(f"load, round {turn}: {rate:,.0f} events/s, {server.name}")
                    reached = await self._deliver("load", server, rate, users, rate)
                    if turn == 1 and reached < 0.9 * rate:
                        overloaded[server.name] = rate

    async def workers(self) -> None:
        """One worker and two, with the same users."""
        users = [f"user-{number}" for number in range(self.size.streams)]
        async with self._opened(["aionotify", WORKERS], users) as servers:
            for turn, rate in self._turns((self.size.deliveries, FLOOD)):
                for server in servers:
                    self.step(f"workers, round {turn}: {rate:,.0f} events/s, {server.name}")
                    await self._deliver("workers", server, rate, users, rate)

    async def publish(self) -> None:
        """Events over HTTP to users who have no stream, kept for them."""
        size = self.size
        async with AsyncExitStack() as undo:
            wanted = [name for name in names() if name in ("aionotify", "nchan")]
            servers = [await undo.enter_async_context(contender(name)) for name in wanted]
            for turn, way in self._turns(("paced", "saturated", "lines")):
                for server in servers:
                    if way == "lines" and server.name == "nchan":
                        continue  # it has nothing like it
                    self.step(f"publishing, round {turn}: {way}, {server.name}")
                    cpu, redis, began = server.cpu(), server.redis_cpu(), time.perf_counter()
                    count = size.posted * (1 if way == "paced" else 5)
                    events = [message(f"user-{number % 1000}", number) for number in range(count)]
                    if way == "lines":
                        await post_lines(server.port, _LINES_HEAD, events)
                    else:
                        rate = size.post_rate if way == "paced" else None
                        await post_each(server.port, list(map(_post, events)), 16, rate)
                    taken = time.perf_counter() - began
                    for what, value in (
                        (PUBLISH, (server.cpu() - cpu) / count * 1e6),
                        (PUBLISH_REDIS, (server.redis_cpu() - redis) / count * 1e6),
                        (PUBLISH_RATE, count / taken),
                    ):
                        self.record.add(f"publish, {way}", server.name, what, 1, value)

    # --- what they have in common -----------------------------------------------------------------

    def _turns(self, of: Sequence[T]) -> list[tuple[int, T]]:
        return [(turn + 1, each) for turn in range(self.size.rounds) for each in of]

    def _add(self, scenario: str, server: Contender, x: float, what: str, value: float) -> None:
        self.record.add(scenario, server.name, what, x, value)

    @asynccontextmanager
    async def _opened(self, wanted: list[str], users: list[str]) -> AsyncIterator[list[Contender]]:
        """Contenders that run at the same time, each with a stream for each user."""
        async with AsyncExitStack() as undo:
            servers = []
            for name in wanted:
                self.step(f"opening {len(users):,} streams of {name}")
                servers.append(await undo.enter_async_context(contender(name)))
                await servers[-1].open(users)
            await asyncio.sleep(2)  # some subscribe after they have answered
            yield servers

    async def _deliver(
        self,
        scenario: str,
        server: Contender,
        x: float,
        recipients: list[str],
        rate: float,
        streams: int = 1,
    ) -> float:
        """Have events delivered to recipients with so many streams each; deliveries a second."""
        count = self.size.flood if rate == FLOOD else max(2, round(rate * self.size.seconds))
        expected, cycle = count * streams, itertools.cycle(recipients)

        def emit(first: int, end: int) -> None:
            for start in range(first, end, 100):
                some = range(start, min(start + 100, end))
                server.publish([(next(cycle), next(self.numbers)) for _ in some])

        await server.load.forget()
        clients, redis, cpu = (await server.load.arrived()).cpu, server.redis_cpu(), server.cpu()
        await asyncio.to_thread(pace, count, rate or 1e9, emit)
        heard = await everything(server.load, expected, _QUIET)
        latency = await server.load.latency()
        reached = (heard.events - 1) / (heard.last - heard.first) if heard.events > 1 else 0.0
        for what, value in (
            (CPU, (server.cpu() - cpu) / expected * 1e6),
            (REDIS, (server.redis_cpu() - redis) / expected * 1e6),
            (CLIENTS, (heard.cpu - clients) / expected * 1e6),
            (P50, latency[50] * 1e3 if latency else 0.0),
            (P99, latency[99] * 1e3 if latency else 0.0),
            (RATE, reached),
            (LOST, expected - heard.events + heard.repeated),
        ):
            self._add(scenario, server, x, what, value)
        return reached


def handshakes(record: Record) -> list[Point]:
    """Of each contender, what opening streams cost beside 1,000 that were open."""
    points = list(record.select("streams", HANDSHAKE))
    first = min(point.x for point in points)
    later = sorted((point for point in points if point.x > first), key=lambda point: -point.x)
    found = {point.contender: point for point in later}
    return [found[name] for name in dict.fromkeys(point.contender for point in points)]


def _post(event: bytes) -> bytes:
    """A request that publishes it: nchan goes by the recipient in the query, aionotify does not."""
    recipient = event.split(b'"', 4)[3]
    return _HEAD % (recipient, b"application/json", b"Content-Length: %d" % len(event)) + event


_HEAD = (
    b"POST /publish?u=%b HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer "
    + PUBLISH_KEY.encode()
    + b"\r\nContent-Type: %b\r\n%b\r\n\r\n"
)
_LINES_HEAD = _HEAD % (
    b"all",
    b"application/x-ndjson",
    b"Accept: application/x-ndjson\r\nTransfer-Encoding: chunked",
)
