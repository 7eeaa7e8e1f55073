"""Publishers that need no Redis: they check events as the real ones do, and record them."""

import asyncio
from collections.abc import Iterable
from typing import Any, Unpack

import msgspec
from redis.asyncio import Redis

from aionotify.broker.published import Published, summed_up
from aionotify.broker.publisher import Publisher, PublisherOptions
from aionotify.broker.sync_publisher import SyncPublisher
from aionotify.errors import BrokerError, BrokerUnavailable
from aionotify.events.event import Event


class FakePublisher(Publisher):
    """A `Publisher` that records events and publishes nothing.

    It refuses what a real one refuses, and knows which `id` it has seen, without forgetting any.

    Args:
        redis: not used; here so that it can take a real one's place.
        options: those of `Publisher`.

    Attributes:
        published: the events, parsed, in order. One for several recipients is there once for each,
            as each would get it; one whose `id` was seen before is not there again.
        error: set it, and no event is published: `publish` raises it.
    """

    def __init__(self, redis: object = None, **options: Unpack[PublisherOptions]) -> None:
        super().__init__(_no_redis, **options)
        self.published: list[dict[str, Any]] = []
        self.error: BrokerError | None = None
        self._ids: dict[tuple[str, str], str] = {}
        self._position = 0
        self._closed = False

    async def close(self) -> None:
        """Have later events fail, as those of a closed `Publisher` do."""
        self._closed = True

    async def publish_checked(
        self, events: Iterable[Event], *, ephemeral: bool = False
    ) -> list[Published | BrokerError]:
        """Record events that `aionotify.events.event.decode` has let pass."""
        if ephemeral:
            return [
                summed_up(event, [self._sent(event, each) for each in event.recipients])
                for event in events
            ]
        return [
            await self._outcome(event, [self._replied(event, each) for each in event.recipients])
            for event in events
        ]

    def _sent(self, event: Event, recipient_id: str) -> Published | BrokerError:
        if self._closed:
            return BrokerUnavailable("the publisher was closed")
        if self.error is not None:
            return self.error
        self.published.append(msgspec.json.decode(event.data(recipient_id)))
        return Published("", online=False)

    def _replied(self, event: Event, recipient_id: str) -> asyncio.Future[Any]:
        """What Redis would have replied, see append.lua."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            reply.set_exception(BrokerUnavailable("the publisher was closed"))
        elif self.error is not None:
            reply.set_exception(self.error)
        else:
            reply.set_result(self._record(event, recipient_id))
        return reply

    def _record(self, event: Event, recipient_id: str) -> tuple[str, int, int]:
        self._position += 2
        position = str(self._position)
        if event.key is not None:
            first = self._ids.setdefault((recipient_id, event.key), position)
            if first != position:
                return first, 0, 1
        self.published.append(msgspec.json.decode(event.data(recipient_id)))
        return position, 0, 0


class FakeSyncPublisher(SyncPublisher):
    """A `SyncPublisher` that records events and publishes nothing; see `FakePublisher`."""

    def __init__(self, redis: object = None, **options: Unpack[PublisherOptions]) -> None:
        fake = self._fake = FakePublisher(redis, **options)
        self._begin(lambda: fake)

    @property
    def published(self) -> list[dict[str, Any]]:
        """The events, see `FakePublisher`."""
        return self._fake.published

    @property
    def error(self) -> BrokerError | None:
        """Set it, and no event is published: `publish` raises it."""
        return self._fake.error

    @error.setter
    def error(self, error: BrokerError | None) -> None:
        self._fake.error = error


def _no_redis() -> Redis:
    raise AssertionError("a fake publisher has no Redis")
