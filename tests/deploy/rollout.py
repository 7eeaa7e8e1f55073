"""Restarts nodes one after the other under watching browsers, and counts what it costs whom."""

import asyncio
import itertools
import signal
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.deploy.browsers import Browser, Tab
from tests.deploy.node import Node
from tests.deploy.producer import EVERYONE, Producer
from tests.harness import MainHost, RedisServer, eventually

# Commands that scripts run, which Redis counts like any other, and those with which it is asked.
_NO_REQUESTS = frozenset(
    (
        *("get", "set", "publish", "pubsub|numsub", "time", "exists", "ttl", "expire", "pexpire"),
        *("hget", "hmget", "hset", "hdel", "hlen", "hkeys", "hexists", "hincrby", "del"),
        *("lindex", "llen", "lrange", "rpush", "ltrim", "lpop", "rpop", "info", "client|setinfo"),
    )
)


REQUESTS = (("main host", "questions", "/s"), ("Redis", "requests", "/s"))


@dataclass(frozen=True, slots=True)
class Counts:
    """What others have had to do so far.

    Attributes:
        at: seconds, by a clock that only goes forward.
        questions: that the main host got.
        requests: that Redis got; what a script does is not one, and probes are not counted.
        busy: milliseconds of CPU that Redis used.
    """

    at: float
    questions: int
    requests: int
    busy: float


@dataclass(slots=True)
class Load:
    """Counts, taken every second and at the end."""

    taken: list[Counts] = field(default_factory=list)

    def total(self, what: str) -> float:
        return float(getattr(self.taken[-1], what) - getattr(self.taken[0], what))

    def mean(self, what: str) -> float:
        """In a second, on average."""
        return self.total(what) / self.total("at")

    def most(self, what: str) -> float:
        """In a second; of less than that nothing is said."""
        return max(
            (
                (getattr(b, what) - getattr(a, what)) / (b.at - a.at)
                for a, b in itertools.pairwise(self.taken)
                if b.at - a.at > 0.9
            ),
            default=0,
        )

    def __str__(self) -> str:
        rates = (
            f"{name} {self.mean(what):,.0f}{unit} (at most {self.most(what):,.0f})"
            for name, what, unit in (*REQUESTS, ("Redis' CPU", "busy", " ms/s"))
        )
        return f"{self.total('at'):.1f} s; {', '.join(rates)}"


class Rollout:
    """Tabs that watch, a producer that publishes durable events, and nodes to restart.

    Args:
        rate: events per second, to one user after the other.
        broadcasts: events per second, to everyone.
        kill: end nodes without warning, in place of asking them to leave.
        missed: a node stays away until each tab has come back once, and found nobody.

    Attributes:
        codes: the nodes' exit codes.
        opening, normal, deploy: requests per second while all tabs open, while nothing happens,
            and while nodes restart.
    """

    def __init__(
        self,
        tabs: Sequence[Tab],
        browsers: Sequence[Browser],
        redis: RedisServer,
        main_host: MainHost,
        rate: float,
        broadcasts: float = 2,
        *,
        kill: bool = False,
        missed: bool = False,
    ) -> None:
        self.tabs = tabs
        self.codes: list[int] = []
        self.opening, self.normal, self.deploy = Load(), Load(), Load()
        self._signal = signal.SIGKILL if kill else signal.SIGTERM
        self._missed = missed
        self._browsers = browsers
        self._redis = redis
        self._main_host = main_host
        self._producer = Producer(redis.url, [tab.user for tab in tabs], rate, broadcasts)

    async def run(self, nodes: Sequence[Node], *, calm: float = 2) -> None:
        """Open all tabs, wait `calm` seconds, and restart each of `nodes` in turn."""
        async with _tasks(*(browser.run() for browser in self._browsers)):
            async with self._measured(self.opening):
                await eventually(self._all_open, timeout=600, interval=0.1)
            async with self._producer:
                async with self._measured(self.normal):
                    await asyncio.sleep(calm)
                async with self._measured(self.deploy):
                    for node in nodes:
                        self.codes.append(await node.end(self._signal))
                        if self._missed:
                            await self._all_come_back()
                        await node.start(until="/readyz")
                    # The last tab has to be back before it is known what it has missed.
                    await eventually(self._all_back, timeout=60, interval=0.1)
            await eventually(self._all_seen, timeout=60, interval=0.1)

    def wrong(self) -> Counter[str]:
        """What no tab may have been through, and how many have."""
        found: Counter[str] = Counter()
        for tab in self.tabs:
            if tab.refused is not None:
                found[f"refused with {tab.refused}"] += 1
            for how, count in tab.ends.items():
                if how != "complete" and self._signal != signal.SIGKILL:
                    found[how] += count
            found["gap"] += tab.told["aionotify.gap"]
            for recipient in (tab.user, EVERYONE):
                seen, due = tab.seen[recipient], range(self._producer.published[recipient])
                found["lost"] += len(set(due) - set(seen))
                found["doubled"] += len(seen) - len(set(seen))
                found["out of order"] += sum(b < a for a, b in itertools.pairwise(seen))
        return +found

    def multiples(self) -> dict[str, float]:
        """How many times what is normal others were asked in the busiest second of the deploy."""
        return {
            name: self.deploy.most(what) / mean
            for name, what, _ in REQUESTS
            if (mean := self.normal.mean(what))
        }

    def described(self) -> str:
        """A few lines for a person."""
        ends = sum((tab.ends for tab in self.tabs), Counter())
        reopened = sum(tab.opened - 1 for tab in self.tabs)
        events = sum(
            self._producer.published[tab.user] + self._producer.published[EVERYONE]
            for tab in self.tabs
        )
        return "\n".join(
            (
                f"{len(self.tabs):,} streams, {reopened:,} reconnects, {events:,} events due",
                f"wrong: {dict(self.wrong()) or 'nothing'}; ends: {dict(ends)}",
                f"opening: {self.opening}",
                f"normal:  {self.normal}",
                f"deploy:  {self.deploy}",
                "the busiest second of the deploy, by what is normal: "
                + ", ".join(f"{name} {times:.2f}" for name, times in self.multiples().items()),
            )
        )

    async def _all_come_back(self) -> None:
        before = {tab: tab.ends["complete"] for tab in self.tabs}

        def came() -> bool:
            return all(tab.refused or tab.ends["complete"] > n for tab, n in before.items())

        await eventually(came, timeout=60, interval=0.1)

    def _all_open(self) -> bool:
        assert not self.wrong(), self.wrong()
        return all(tab.told["aionotify.open"] for tab in self.tabs)

    def _all_back(self) -> bool:
        opened = sum(tab.opened for tab in self.tabs)
        ended = sum(tab.ends.total() for tab in self.tabs)
        refused = sum(tab.refused is not None for tab in self.tabs)
        return opened - ended + refused == len(self.tabs)

    def _all_seen(self) -> bool:
        return not self.wrong()["lost"]

    @asynccontextmanager
    async def _measured(self, load: Load) -> AsyncIterator[None]:
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(load, ended), name="load")
            try:
                yield
            finally:
                ended.set()

    async def _look(self, load: Load, ended: asyncio.Event) -> None:
        load.taken.append(await self._counts())
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await ended.wait()
            load.taken.append(await self._counts())

    async def _counts(self) -> Counts:
        return await asyncio.to_thread(self._count)

    def _count(self) -> Counts:
        """In a thread, for the time is to be that of the counts."""
        stats = self._redis.cli("INFO", "commandstats")
        cpu = self._redis.cli("INFO", "cpu")
        return Counts(
            time.monotonic(),
            len(self._main_host.asked),
            sum(
                stat["calls"]
                for name, stat in stats.items()
                if name.removeprefix("cmdstat_") not in _NO_REQUESTS
            ),
            1000 * (cpu["used_cpu_user"] + cpu["used_cpu_sys"]),
        )


@asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines beside the body; a failure of one ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()


def tabs_and_browsers(
    port: int, trust: ssl.SSLContext, streams: int, per_browser: int = 5, seconds: float = 0
) -> tuple[list[Tab], list[Browser]]:
    """Make so many tabs, each another user's, spread over browsers that open within `seconds`."""
    tabs = [Tab(f"u{number}") for number in range(streams)]
    groups = [tabs[first : first + per_browser] for first in range(0, streams, per_browser)]
    return tabs, [
        Browser(port, trust, group, seconds * number / len(groups))
        for number, group in enumerate(groups)
    ]
