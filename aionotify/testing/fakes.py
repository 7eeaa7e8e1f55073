"""Publishers that need no Redis: they check events as the real ones do, and record them."""

import asyncio
from collections.abc import Iterable
from typing import Any, Unpack

import msgspec
from redis.asyncio import Redis

from aionotify.broker.published import Published, checked_event_id, summed_up
from aionotify.broker.publisher import Publisher, PublisherOptions
from aionotify.broker.sync_publisher import SyncPublisher
from aionotify.errors import BrokerError, BrokerUnavailable
from aionotify.events.event import EVERYONE, Event
from aionotify.events.group import Receiver


class FakePublisher(Publisher):
    """A `Publisher` that records events and publishes nothing.

    It refuses what a real one refuses, and knows which `id` it has seen, without forgetting any.

    Args:
        redis: not used; here so that it can take a real one's place.
        options: those of `Publisher`.

    Attributes:
        published: the events, parsed, in order. One for several receivers is there once for each,
            narrowed to it; one whose `id` was seen before is not there again. An event that was
            recalled, or collapsed into a newer one, is still there.
        recalled: the ids of the events that were recalled, in order.
        error: set it, and no event is published: `publish` raises it, and so does `recall`.
    """

    def __init__(self, redis: object = None, **options: Unpack[PublisherOptions]) -> None:
        super().__init__(_no_redis, **options)
        self.published: list[dict[str, Any]] = []
        self.error: BrokerError | None = None
        self._ids: dict[tuple[Receiver, str], str] = {}
        self.recalled: list[str] = []
        self._position = 0
        self._inboxes: dict[Receiver, dict[int, str | None]] = {}  # position -> collapse key
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
                summed_up(event, [self._sent(event, each) for each in event.receivers])
                for event in events
            ]
        return [
            await self._outcome(event, [self._replied(event, each) for each in event.receivers])
            for event in events
        ]

    async def recall(self, event_id: str, recipient_id: str | int = EVERYONE) -> bool:
        """Record that an event was recalled, if it was published and is still in its inbox."""
        found = checked_event_id(event_id, recipient_id)
        if self._closed:
            raise BrokerUnavailable("the publisher was closed")
        if self.error is not None:
            raise self.error
        inbox = self._inboxes.get(str(recipient_id), {})
        if found.position not in inbox:
            return False
        del inbox[found.position]
        self.recalled.append(event_id)
        return True

    def _sent(self, event: Event, receiver: Receiver) -> Published | BrokerError:
        if self._closed:
            return BrokerUnavailable("the publisher was closed")
        if self.error is not None:
            return self.error
        self.published.append(msgspec.json.decode(event.stored(receiver)))
        return Published("", online=False if isinstance(receiver, str) else None)

    def _replied(self, event: Event, receiver: Receiver) -> asyncio.Future[Any]:
        """What Redis would have replied, see append.lua."""
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            reply.set_exception(BrokerUnavailable("the publisher was closed"))
        elif self.error is not None:
            reply.set_exception(self.error)
        else:
            reply.set_result(self._record(event, receiver))
        return reply

    def _record(self, event: Event, receiver: Receiver) -> tuple[str, int, int]:
        self._position += 2
        position = str(self._position)
        if event.key is not None:
            first = self._ids.setdefault((receiver, event.key), position)
            if first != position:
                return first, 0, 1
        self.published.append(msgspec.json.decode(event.stored(receiver)))
        self._keep(receiver, None if event.options is None else event.options.collapse)
        return position, 0, 0

    def _keep(self, receiver: Receiver, collapse: str | None) -> None:
        inbox = self._inboxes.setdefault(receiver, {})
        if collapse is not None:
            for position in [each for each, key in inbox.items() if key == collapse]:
                del inbox[position]
        inbox[self._position] = collapse


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
    def recalled(self) -> list[str]:
        """The ids of the events that were recalled, see `FakePublisher`."""
        return self._fake.recalled

    @property
    def error(self) -> BrokerError | None:
        """Set it, and no event is published: `publish` raises it, and so does `recall`."""
        return self._fake.error

    @error.setter
    def error(self, error: BrokerError | None) -> None:
        self._fake.error = error


def _no_redis() -> Redis:
    raise AssertionError("a fake publisher has no Redis")
