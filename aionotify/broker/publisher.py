"""Publishing: durably, into the recipient's inbox and to the nodes in one atomic step, or just to
the nodes.

Needs nothing but a Redis, so that any Python service can publish without a node at hand.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypedDict, Unpack

from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from aionotify.broker.away import KEPT as WAITING_KEPT
from aionotify.broker.connection.endpoint import LOST, Endpoint, translate
from aionotify.broker.connection.pipeline import BlockingClient, Execute, by_client
from aionotify.broker.connection.scripts import Script, Words
from aionotify.broker.data_set import DataSet
from aionotify.broker.inbox import EPHEMERAL_MARK
from aionotify.broker.keys import Keys
from aionotify.broker.lease import Lease
from aionotify.broker.persistence import written
from aionotify.broker.published import (
    Published,
    check,
    checked_event_id,
    merge,
    summed_up,
    valid,
)
from aionotify.broker.replicas import on_replicas
from aionotify.config import Config, InboxConfig, RedisConfig
from aionotify.errors import AionotifyError, BrokerError
from aionotify.events import notice
from aionotify.events.away_rules import NO_RULES, AwayRules
from aionotify.events.event import EVERYONE, Event
from aionotify.events.event_id import event_id
from aionotify.events.group import Ordered, Receiver, marks, shard_of
from aionotify.portions import portions

# Appends under way for one caller. A thousand events can have a thousand recipients each, and to
# put all of that in line would take a second in which nothing else moves.
_AHEAD: Final = 2000
_BATCH_BYTES: Final = 1 << 20  # of ephemeral events that are sent together

KEPT: Final = 86400
"""Seconds for which the keys of events are kept that are published in order."""


class PublisherOptions(TypedDict, total=False):
    """What a publisher may be told besides where Redis is; see `Publisher`."""

    prefix: str
    inbox: InboxConfig | None
    max_bytes: int
    wait_replicas: int
    away: AwayRules


class Publisher:
    """Publishes events.

    Args:
        redis: an address (see `redis.url` in the configuration), or a client of yours (or
            what gives one, or an endpoint), which stays yours to close. It says in which database
            the nodes are.
        prefix: of our names in Redis, `redis.prefix` in the configuration.
        inbox: how much is kept, for how long. By default, what the nodes keep: they say so in
            Redis. If there never was a node with this prefix, the defaults of the configuration.
        max_bytes: the longest event.
        wait_replicas: how many replicas must have an event before it counts as published,
            `redis.wait_replicas` in the configuration. An endpoint has its own.
        away: which types of events wait for users who are away, `away.types` in the configuration.

    Use it as ``async with Publisher("redis://…") as publisher``, or call `close`.
    """

    def __init__(
        self,
        redis: str | Redis | Callable[[], Redis] | Endpoint | BlockingClient,
        *,
        prefix: str = RedisConfig().prefix,
        inbox: InboxConfig | None = None,
        max_bytes: int = Config().events.max_bytes,
        wait_replicas: int = RedisConfig().wait_replicas,
        away: AwayRules = NO_RULES,
    ) -> None:
        self._endpoint: Endpoint | None = None
        kept = None
        execute: Execute
        if isinstance(redis, str):
            self._endpoint = redis = Endpoint(RedisConfig(url=redis, wait_replicas=wait_replicas))
            execute = redis.publishing.execute
        elif isinstance(redis, Endpoint):
            execute, wait_replicas = redis.publishing.execute, redis.wait_replicas
            # Anybody else's Redis is as safe as they have made it.
            kept = partial(written, execute) if redis.keeps else None
        elif isinstance(redis, Redis):
            execute = by_client(partial(_itself, redis))
        elif isinstance(redis, BlockingClient):
            execute = redis.execute
        else:
            execute = by_client(redis)
        limits = inbox or InboxConfig()
        self._named = partial(_names, prefix, redis)
        self._keys: Keys | None = None  # a client that comes later says only then which database
        self._data_set = DataSet(
            execute,
            Keys(prefix),
            retention=limits.retention,
            max_events=limits.max_events,
            idempotency=limits.idempotency,
            whose="own" if inbox is not None else "default",
        )
        self._away = away
        self._acknowledged: Callable[[Ordered, int], None] = lambda of, position: None
        self.max_bytes = max_bytes
        self._execute = execute
        self._waits = "1" if wait_replicas else ""
        if wait_replicas:
            execute = on_replicas(execute, wait_replicas)
        self._script = Script(execute, "append.lua", kept)
        self._recall = Script(execute, "recall.lua", kept)
        self._expect = Script(execute, "expect.lua", kept)

    @classmethod
    def from_url(cls, url: str, **options: Unpack[PublisherOptions]) -> Self:
        """Return a publisher to the Redis at an address."""
        return cls(url, **options)

    @classmethod
    def from_client(cls, client: Redis, **options: Unpack[PublisherOptions]) -> Self:
        """Return a publisher that uses a client of yours."""
        if not isinstance(client, Redis):
            raise TypeError("Publisher takes a redis.asyncio.Redis, SyncPublisher a redis.Redis")
        return cls(client, **options)

    def belong_to(self, data_set: DataSet, acknowledged: Callable[[Ordered, int], None]) -> None:
        """Go by what a node knows of the data set; tell it for whom an event was stored where."""
        self._data_set, self._acknowledged = data_set, acknowledged

    def adopt(self, other: "Publisher") -> None:
        """Publish events as long as `other` does."""
        self.max_bytes = other.max_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way, then close the connection if it is our own.

        On whichever event loop; what is under way on another one is not waited for.
        """
        await self._data_set.close()  # first: who waits for that appends next
        await self._script.close()
        await self._recall.close()
        await self._expect.close()
        if self._endpoint is not None:
            await self._endpoint.close()

    async def publish(
        self, event: Mapping[str, Any] | bytes | str, *, ephemeral: bool = False
    ) -> Published:
        """Publish one event.

        Args:
            event: as the event contract has it, with a `recipient_id`; a mapping, or JSON.
            ephemeral: whether it is for the streams that are open now, and not kept.

        Raises:
            InvalidEvent: it breaks the contract; nothing was published.
            BrokerRefused: Redis will not store it; nothing was published.
            BrokerUnavailable: Redis does not answer. Whether the event was stored is not known:
                publish it again with the same `id`, and it is delivered once.
            PartlyPublished: some of several recipients got it.
        """
        [result] = await self.publish_many([event], ephemeral=ephemeral)
        if isinstance(result, AionotifyError):
            raise result
        return result

    async def publish_many(
        self, events: Iterable[Mapping[str, Any] | bytes | str], *, ephemeral: bool = False
    ) -> list[Published | AionotifyError]:
        """Publish events in few round trips.

        Returns:
            For each event, in order, what became of it, or the error that `publish` would raise.
        """
        checked = check(events, self.max_bytes, ephemeral=ephemeral)
        return merge(checked, await self.publish_checked(valid(checked), ephemeral=ephemeral))

    async def publish_checked(
        self, events: Iterable[Event], *, ephemeral: bool = False
    ) -> list[Published | BrokerError]:
        """The same for events that `decode_checked` has let pass."""
        events = list(events)
        keys = self._known_keys()
        try:
            if events:
                await self._refresh()
            if not ephemeral:
                await self._note(keys, events)
        except BrokerError as error:
            return [error] * len(events)
        if ephemeral:
            return await self._publish_ephemeral(keys, events)
        results: list[Published | BrokerError] = []
        pending: deque[tuple[Event, list[asyncio.Future[Any]]]] = deque()
        ahead = 0
        for event in events:
            pending.append((event, [self._append(keys, event, each) for each in event.receivers]))
            ahead += len(event.receivers)
            while ahead > _AHEAD:
                ahead -= len(pending[0][0].receivers)
                results.append(await self._outcome(*pending.popleft()))
        return results + [await self._outcome(*each) for each in pending]

    async def recall(self, event_id: str, recipient_id: str | int = EVERYONE) -> bool:
        """Take a durable event out of its inbox, and tell the streams that are open.

        Args:
            event_id: as it was answered when the event was published.
            recipient_id: the user whose inbox it is in; none for an event for everyone.

        Returns:
            Whether it was there. It is not if it was recalled before, a newer one has taken its
            place, or the inbox does not keep it any more.

        Raises:
            InvalidEvent: this is no event id, or not of this recipient's inbox.
            BrokerRefused: Redis will not change the inbox.
            BrokerUnavailable: Redis does not answer. Whether the event is still there is not known.
        """
        found = checked_event_id(event_id, recipient_id)
        keys, id = self._known_keys(), str(recipient_id)
        await self._refresh()
        told = notice.message("recalled", {"reason": "recalled", "event_id": event_id})
        words = found.position, keys.live(id), told, "PUBLISH"
        names = keys.inbox(id), keys.away(id), keys.away_events(id)
        return bool(await self._recall.call(names, words))

    async def publish_in_order(
        self, events: list[Event], lease: Lease
    ) -> list[Published | BrokerError]:
        """The same for events that each have a key, which is kept for `KEPT` seconds.

        None is stored for a recipient unless the one before it is, nor outside of the lease.
        """
        keys = self._known_keys()
        try:
            if events:
                await self._refresh()
            await self._note(keys, events)
        except BrokerError as error:
            return [error] * len(events)
        replies = iter(await self._script.call_in_order(self._in_order(keys, events, lease)))
        return [
            summed_up(event, [self._published(each, next(replies)) for each in event.receivers])
            for event in events
        ]

    async def _note(self, keys: Keys, events: list[Event]) -> None:
        """Note whom events are about to wait for, if any do."""
        words: list[str | float] = []
        for event in events:
            if (rule := self._away.of(event)) is not None:
                for recipient_id in event.recipients:
                    words += recipient_id, rule.seconds * 1000
        if words:
            await self._expect.call((keys.away_due,), (WAITING_KEPT, *words))

    def _known_keys(self) -> Keys:
        keys = self._keys = self._keys or self._named()
        return keys

    async def _refresh(self) -> None:
        found = await self._data_set.refresh()
        if found is not None and self._endpoint is not None:
            await self._stay_with_master(self._endpoint, found.read_only)

    async def _stay_with_master(self, endpoint: Endpoint, demoted: bool) -> None:
        """Connect anew where the master is another one now than the one that was asked.

        One that was replaced takes itself for the master until it is told: ten seconds, in which
        all that it is given is lost.
        """
        other = "not the master any more" if demoted else await endpoint.replaced("writes")
        if other is not None:
            endpoint.drop(other)
            await self._data_set.probe()

    def _append(self, keys: Keys, event: Event, receiver: Receiver) -> asyncio.Future[Any]:
        words = partial(self._words, keys, event, receiver)
        return self._script.call_lazily(words, event.size)

    def _words(self, keys: Keys, event: Event, receiver: Receiver) -> Words:
        collapses = event.options is not None and event.options.collapse is not None
        if collapses or not isinstance(receiver, str) or self._away.of(event) is not None:
            return self._all_words(keys, event, receiver)
        data = event.stored(receiver)
        inbox, live = keys.inbox(receiver), keys.live(receiver)
        if event.key is None:
            return (1, inbox, live, data, *self._data_set.append_words, self._waits)
        key = keys.idempotency(receiver, event.key)
        return (2, inbox, key, live, data, *self._data_set.append_words, self._waits)

    def _all_words(
        self,
        keys: Keys,
        event: Event,
        receiver: Receiver,
        before: str | None = None,
        lease: Lease | None = None,
    ) -> Words:
        """The same for any event: also one for a group, one that takes the place of others, or is
        stored in order, after the one with the key `before`.
        """
        id, collapse = receiver, None if event.options is None else event.options.collapse
        names = [keys.inbox(id)]
        if not isinstance(id, str):
            names.append(keys.inbox(shard_of(id.name)))
        names += [keys.idempotency(id, key) for key in (event.key, before) if key is not None]
        waits: Words = ("", "", "")
        if isinstance(id, str):
            rule = self._away.of(event)
            if rule is not None or collapse is not None:
                names += keys.away(id), keys.away_events(id)
                waits = (0, "", "") if rule is None else (*rule, WAITING_KEPT)
        if collapse is not None:
            names.append(keys.collapse(id))
        max_events, retention, remember, *rest = self._data_set.append_words
        limits = max_events, retention, remember if lease is None else KEPT
        more = (*rest, self._waits, *(lease or ("", "")), collapse or "", *waits)
        return (
            len(names),
            *names,
            keys.live(id),
            _copy(event, id, event.stored(id)),
            *limits,
            *more,
        )

    def _in_order(
        self, keys: Keys, events: list[Event], lease: Lease
    ) -> Iterator[tuple[Words, int]]:
        before: dict[Receiver, str | None] = {}
        for event in events:
            for each in event.receivers:
                yield self._all_words(keys, event, each, before.get(each), lease), event.size
                before[each] = event.key

    async def _outcome(
        self, event: Event, replies: list[asyncio.Future[Any]]
    ) -> Published | BrokerError:
        for reply in replies:
            if not reply.done():
                with contextlib.suppress(BrokerError):
                    await reply
        return summed_up(event, list(map(self._result, event.receivers, replies)))

    def _result(self, receiver: Receiver, reply: asyncio.Future[Any]) -> Published | BrokerError:
        try:
            return self._published(receiver, reply.result())
        except BrokerError as error:
            return error

    def _published(self, receiver: Receiver, reply: Any) -> Published | BrokerError:
        if isinstance(reply, BrokerError):
            return reply
        text, online, repeated = reply
        position = int(text)
        of = receiver if isinstance(receiver, str) else shard_of(receiver.name)
        self._acknowledged(of, position)  # also what somebody else has stored
        # A node that hears a group's shard need not have a stream that is in the group.
        told = int(online) > 0 if isinstance(receiver, str) else None
        return Published(str(event_id(of, position)), told, bool(repeated))

    async def _publish_ephemeral(
        self, keys: Keys, events: list[Event]
    ) -> list[Published | BrokerError]:
        """Publish to each recipient's own channel, on which only nodes listen that have a stream
        of it.
        """
        replies: list[Any] = []
        for commands in portions(_commands(keys, events), _AHEAD, _message_size, _BATCH_BYTES):
            try:
                replies += await self._execute(commands)
            except (*LOST, BrokerError) as error:
                replies += [error] * len(commands)
        each = iter(replies)
        return [
            summed_up(event, [_sent(receiver, next(each)) for receiver in event.receivers])
            for event in events
        ]


def _copy(event: Event, receiver: Receiver, data: bytes) -> bytes:
    """What is stored for a receiver; for a group, that begins with the marks of all up to it."""
    if isinstance(receiver, str):
        return data
    receivers = event.receivers
    before = receivers[: receivers.index(receiver)]
    return b"%b %b" % (marks((receiver, *before)), data)


def _commands(keys: Keys, events: list[Event]) -> Iterator[tuple[str, str, bytes]]:
    for event in events:
        for receiver in event.receivers:
            yield (
                "PUBLISH",
                keys.live(receiver),
                EPHEMERAL_MARK + _copy(event, receiver, event.data(receiver)),
            )


def _message_size(command: tuple[str, str, bytes]) -> int:
    return len(command[2])


def _sent(receiver: Receiver, reply: Any) -> Published | BrokerError:
    if not isinstance(reply, Exception):
        return Published("", int(reply) > 0 if isinstance(receiver, str) else None)
    return reply if isinstance(reply, BrokerError) else translate(reply)


def _itself(client: Redis) -> Redis:
    return client


def _names(prefix: str, redis: Redis | Callable[[], Redis] | Endpoint | BlockingClient) -> Keys:
    """Return our names in the database that `redis` uses."""
    if isinstance(redis, Endpoint):
        return Keys(prefix, database=redis.database)
    client: Redis | BlockingRedis
    if isinstance(redis, BlockingClient):
        client = redis.client
    else:
        client = redis if isinstance(redis, Redis) else redis()
    return Keys(prefix, database=int(client.connection_pool.connection_kwargs.get("db") or 0))
