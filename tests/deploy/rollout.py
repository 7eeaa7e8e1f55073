"""Restarts nodes one after the other under watching browsers, and counts what it costs whom."""

import asyncio
import itertools
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aionotify import Publisher
from tests.deploy.browsers import Browser, Tab
from tests.deploy.node import Node
from tests.harness import MainHost, RedisServer, eventually

EVERYONE = "*"


@dataclass(slots=True)
class Load:
    """What others had to do meanwhile, looked at every second and at the end.

    Attributes:
        seconds: how long each look was apart from the one before.
        main_host: questions that the main host got in that time.
        redis: commands that Redis carried out, our looking apart.
    """

    seconds: list[float] = field(default_factory=list)
    main_host: list[int] = field(default_factory=list)
    redis: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{sum(self.seconds):.1f} s; main host {self._rates(self.main_host)}; Redis " + (
            self._rates(self.redis)
        )

    def _rates(self, counts: list[int]) -> str:
        whole = [count / s for count, s in zip(counts, self.seconds, strict=True) if s > 0.9]
        mean = sum(counts) / sum(self.seconds)
        return f"{sum(counts):,}, {mean:,.0f}/s, at most {max(whole, default=mean):,.0f}/s"


class Rollout:
    """Tabs that watch, a producer that publishes durable events, and nodes to restart.

    Args:
        rate: events per second, to one user after the other and now and then to everyone.

    Attributes:
        published: the number of events by recipient.
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
    ) -> None:
        self.tabs = tabs
        self.published: Counter[str] = Counter()
        self.codes: list[int] = []
        self.opening, self.normal, self.deploy = Load(), Load(), Load()
        self._browsers = browsers
        self._redis = redis
        self._main_host = main_host
        self._rate = rate

    async def run(self, nodes: Sequence[Node], *, calm: float = 2) -> None:
        """Open all tabs, wait `calm` seconds, and restart each of `nodes` in turn."""
        async with _tasks(*(browser.run() for browser in self._browsers)):
            async with self._measured(self.opening):
                await eventually(self._all_open, timeout=120, interval=0.1)
            async with _tasks(self._publish()):
                async with self._measured(self.normal):
                    await asyncio.sleep(calm)
                async with self._measured(self.deploy):
                    for node in nodes:
                        self.codes.append(await node.end())
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
                if how != "complete":
                    found[how] += count
            found["gap"] += tab.told["aionotify.gap"]
            for recipient in (tab.user, EVERYONE):
                seen, due = tab.seen[recipient], range(self.published[recipient])
                found["lost"] += len(set(due) - set(seen))
                found["doubled"] += len(seen) - len(set(seen))
                found["out of order"] += sum(b < a for a, b in itertools.pairwise(seen))
        return +found

    def described(self) -> str:
        """A few lines for a person."""
        ends = sum((tab.ends for tab in self.tabs), Counter())
        reopened = sum(tab.opened - 1 for tab in self.tabs)
        events = sum(self.published[tab.user] + self.published[EVERYONE] for tab in self.tabs)
        return "\n".join(
            (
                f"{len(self.tabs):,} streams, {reopened:,} reconnects, {events:,} events due",
                f"wrong: {dict(self.wrong()) or 'nothing'}; ends: {dict(ends)}",
                f"opening: {self.opening}",
                f"normal:  {self.normal}",
                f"deploy:  {self.deploy}",
            )
        )

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

    async def _publish(self) -> None:
        users = itertools.cycle(tab.user for tab in self.tabs)
        async with Publisher(self._redis.url) as publisher:
            started = time.monotonic()
            for turn in itertools.count():
                recipient = EVERYONE if turn % 50 == 0 else next(users)
                number = self.published[recipient]
                await publisher.publish({"recipient_id": recipient, "number": number})
                self.published[recipient] += 1
                await asyncio.sleep(started + (turn + 1) / self._rate - time.monotonic())

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
        before, at = await self._counts(), time.monotonic()
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await ended.wait()
            counts, now = await self._counts(), time.monotonic()
            load.seconds.append(now - at)
            load.main_host.append(counts[0] - before[0])
            load.redis.append(counts[1] - before[1] - 1)
            before, at = counts, now

    async def _counts(self) -> tuple[int, int]:
        stats = await asyncio.to_thread(self._redis.cli, "INFO", "stats")
        return len(self._main_host.asked), stats["total_commands_processed"]


@asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines beside the body; a failure of one ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        yield
        for task in tasks:
            task.cancel()


def tabs_and_browsers(
    port: int, trust: ssl.SSLContext, streams: int, per_browser: int = 5
) -> tuple[list[Tab], list[Browser]]:
    """Make so many tabs, each another user's, spread over browsers."""
    tabs = [Tab(f"u{number}") for number in range(streams)]
    groups = [tabs[first : first + per_browser] for first in range(0, streams, per_browser)]
    return tabs, [Browser(port, trust, group) for group in groups]
