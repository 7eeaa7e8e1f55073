"""Publishes at speed and does not give up: each event until it is known to be stored."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import resources
from random import Random
from typing import Any

import aiohttp
import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aionotify import Published, Publisher
from tests.chaos.ledger import Ledger
from tests.chaos.world import KEY, World, is_group

Events = Sequence[Mapping[str, Any]]
_TAKEN = 15  # seconds within which a node takes what was added, or it is added again
Way = Callable[[Events], Awaitable[list[bool]]]
"""Publishes some events; says of each whether it is known to be stored."""


class Producer:
    """One application that publishes.

    Attributes:
        attempts, failures: events that it tried to publish, and those that failed.
        unheard: events whose message pub/sub lost.

    Args:
        recipients: each gets events of its own.
        rate: events a second, over all of them.
        silently: share of events whose message pub/sub loses.
        added: share of events that are added to the Redis stream, for a node to take.
    """

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        recipients: Sequence[str],
        random: Random,
        *,
        rate: float = 500,
        size: int = 100,
        silently: float = 0,
        added: float = 0,
    ) -> None:
        self._world = world
        self._ledger = ledger
        self._recipients = recipients
        self._random = random
        self._interval = min(len(recipients), 50) / rate
        self._padding = "x" * size
        self.silently = silently
        self._added = added
        ledger.takes_again = added > 0
        self._turn = asyncio.Lock()
        self._limits = (world.inbox.max_events, world.inbox.retention, world.inbox.idempotency)
        self._append = resources.files("aionotify.broker").joinpath("append.lua").read_text()
        self.attempts = 0
        self.failures = 0
        self.unheard = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        async with AsyncExitStack() as stack:
            self._publishers = [
                await stack.enter_async_context(Publisher(address, inbox=self._world.inbox))
                for address in self._world.addresses
            ]
            headers = {"Authorization": f"Bearer {KEY}"}
            self._session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
            while True:
                async with self._turn:
                    count = min(len(self._recipients), 50)
                    await self.round(self._random.sample(self._recipients, count))
                await asyncio.sleep(self._random.uniform(0, 2 * self._interval))

    async def pause(self) -> None:
        """Return when nothing is under way; publish nothing by itself until `resume`."""
        await self._turn.acquire()

    def resume(self) -> None:
        self._turn.release()

    async def round(self, recipients: Sequence[str]) -> None:
        """Publish one event to each of `recipients`, some as lists; return when all are stored."""
        left = [self._event(ids) for ids in self._groups(recipients)]
        while left:
            self.attempts += len(left)
            stored = await self._way()(left)
            self.failures += stored.count(False)
            for event in (
                event for event, is_stored in zip(left, stored, strict=True) if is_stored
            ):
                self._ledger.stored.update(event["n"].keys())
            left = [event for event, is_stored in zip(left, stored, strict=True) if not is_stored]
            if left:
                await asyncio.sleep(0.05)

    def _groups(self, recipients: Sequence[str]) -> list[list[str]]:
        """Most recipients alone, some together; everyone, and groups, always alone."""
        groups: list[list[str]] = [[]]
        for recipient in recipients:
            if recipient == "*" or is_group(recipient):
                groups.insert(0, [recipient])
            else:
                groups[-1].append(recipient)
                if self._random.random() < 0.9:
                    groups.append([])
        return [group for group in groups if group]

    def _event(self, ids: Sequence[str]) -> Mapping[str, Any]:
        numbers = {id: self._ledger.begin(id) for id in ids}
        name = "group_id" if is_group(ids[0]) else "recipient_id"
        return {
            name: ids[0] if len(ids) == 1 else ids,
            "id": "-".join(f"{id}:{number}" for id, number in list(numbers.items())[:8]),
            "n": numbers,
            "x": self._padding,
        }

    def _way(self) -> Way:
        if self._random.random() < self.silently:
            return self._unheard
        if self._random.random() < self._added:
            return self._by_stream
        return self._random.choice((self._directly, self._over_http))

    async def _directly(self, events: Events) -> list[bool]:
        publisher = self._random.choice(self._publishers)
        results = await publisher.publish_many(events)
        return [isinstance(result, Published) for result in results]

    async def _over_http(self, events: Events) -> list[bool]:
        node = self._random.choice(self._world.nodes)
        url = f"{node.url}/publish"
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with self._session.post(url, json=events, timeout=timeout) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return [False] * len(events)
        results = body if answer.status == 202 else body["error"]["results"]
        stored = ["event_id" in result for result in results]
        for event in (event for event, is_stored in zip(events, stored, strict=True) if is_stored):
            for recipient, number in event["n"].items():
                self._ledger.knows(node.name, recipient, number)
        return stored

    async def _by_stream(self, events: Events) -> list[bool]:
        """Add events with XADD; they are stored when a node has taken them."""
        try:
            async with (
                asyncio.timeout(_TAKEN),
                Redis(
                    port=self._world.redis.port,
                    protocol=2,
                    socket_timeout=2,
                    retry=Retry(NoBackoff(), 0),
                ) as client,
            ):
                ids = [
                    await client.xadd("aionotify:publish", {"event": msgspec.json.encode(event)})
                    for event in events
                ]
                while await client.xrange("aionotify:publish", ids[0], ids[-1], count=1):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except Exception:  # noqa: BLE001 - whatever it is, the events are tried again
            return [False] * len(events)
        return [True] * len(events)

    async def _unheard(self, events: Events) -> list[bool]:
        """Store events without a message that anybody hears."""
        stored = []
        async with Redis(port=self._world.redis.port, protocol=2) as client:
            for event in events:
                ids = event.get("recipient_id")
                if not isinstance(ids, str):
                    stored.append((await self._directly([event]))[0])
                    continue
                keys = (f"aionotify:{{{ids}}}:inbox", f"aionotify:{{{ids}}}:id:{event['id']}")
                try:
                    times = await client.hmget("aionotify:epoch", "clock", "since")
                    floor, since = (int(each or 0) for each in times)
                    limits = (*self._limits, "PUBLISH", floor, since)
                    args = ("nowhere", msgspec.json.encode(event), *limits)
                    await client.eval(self._append, 2, *keys, *args)
                    stored.append(True)
                    self.unheard += 1
                except Exception:  # noqa: BLE001 - whatever it is, the event is tried again
                    stored.append(False)
        return stored
