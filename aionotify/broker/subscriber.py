"""The Redis subscriber: one subscribing connection, whatever the number of streams.

It is supervised. A lost connection, a refused one, or one on which nothing is heard any more is
given up and made anew, for as long as the node lives. The sink is told when live events
are no longer heard, and again when they are; what was published in between is in the inboxes.

redis-py's own PubSub is not used, because it repairs a lost connection without a word, and what
was published meanwhile is gone unnoticed. Its connection, on RESP2, is just what is needed.
"""

import asyncio
import logging
import random
import secrets
import time
from typing import Any, Final, Protocol

import msgspec
from redis.asyncio.connection import AbstractConnection

from aionotify import tasks
from aionotify.broker.connection.endpoint import LOST, Endpoint, OtherServer, translate
from aionotify.broker.connection.resp import RespProtocol, lose, send, start_reading
from aionotify.broker.control import Control, Membership, Question, decode_control
from aionotify.broker.data_set import DataSet, Probed
from aionotify.broker.inbox import (
    EPHEMERAL_MARK,
    decode_copy,
    parse_copy,
    parse_entry,
    parse_ephemeral,
)
from aionotify.broker.keys import Keys
from aionotify.broker.overload import Overload
from aionotify.broker.probes import Probes
from aionotify.errors import BrokerError, BrokerRefused, InvalidEvent
from aionotify.events import notice
from aionotify.events.event import EVERYONE, Event, decode, sole_recipient
from aionotify.events.group import Ordered
from aionotify.events.page import Entry
from aionotify.portions import portions
from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats

PROBE_INTERVAL: Final = 1.0  # seconds
PROBE_TIMEOUT: Final = 0.5  # seconds
MAX_UNHEARD_PROBES: Final = 2  # probes; with the two above, silence is noticed within 5 seconds
_BACKOFF: Final = (0.05, 0.5)  # seconds, first and longest: soon after Redis is back, so are we
_BATCH_WINDOW: Final = 0.01  # seconds: what is wanted meanwhile goes off in one command
_CHANNELS: Final = 500  # in one SUBSCRIBE: some tens of kilobytes

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where what is heard goes. All plain functions: the subscriber never waits for anybody, or
    Redis would cut it off (client-output-buffer-limit pubsub).
    """

    def hold(self) -> None: ...
    def release(self) -> None: ...
    def has(self, user_id: str) -> bool: ...
    def has_group(self, mark: bytes) -> bool: ...
    def ephemeral(self, event: Event) -> None: ...
    def ephemeral_to_group(self, group: bytes, before: frozenset[bytes], event: Event) -> None: ...
    def durable(self, recipient_id: str, entry: Entry) -> None: ...
    def durable_to_group(self, shard: int, entry: Entry) -> None: ...
    def notice(self, recipient_id: str, name: str, data: bytes) -> None: ...
    def confirmed(self, of: Ordered) -> None: ...
    def lost(self) -> None: ...
    def data_set(self, found: DataSet) -> None: ...
    def revoked(self, revocation: Control) -> None: ...
    def asked(self, question: Question) -> None: ...
    def membership(self, change: Membership) -> None: ...


class SilentConnection(Exception):
    """Nothing is heard, though the connection stands."""


class OtherMaster(Exception):
    """What is heard, read and written is not all at one master."""


class Subscriber:
    """Hears what is published.

    Args:
        data_set: learns of Redis' data set what each probe is told.
        max_bytes: the longest event.

    Attributes:
        problem: why live events are not heard just now, or None while they are.
        store: whether Redis takes events; unchanged while it does not answer.
        overload: whether more is heard than the sink can take.
    """

    def __init__(
        self, endpoint: Endpoint, keys: Keys, data_set: DataSet, *, max_bytes: int, stats: Stats
    ) -> None:
        self.problem: str | None = "not started"
        self.store = HealthCheck(
            _log, wrong="Redis stores no events", right="Redis stores events again"
        )
        self.overload = Overload()
        self._endpoint = endpoint
        self._data_set = data_set
        self._sink: Sink
        self._keys = keys
        self._max_bytes = max_bytes
        self._stats = stats
        self._sampled = Sampled(_log)
        self._ephemeral = keys.ephemeral.encode()
        self._control = keys.control.encode()
        self._always: dict[bytes, Ordered] = {
            self._ephemeral: "",
            self._control: "",
            keys.live(EVERYONE).encode(): EVERYONE,
        }
        # channel -> recipient; what is asked for, what was sent for, what Redis has confirmed
        self._wanted: dict[bytes, Ordered] = dict(self._always)
        self._sent: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._changed: dict[bytes, None] = {}
        self._change = asyncio.Event()
        self._node = secrets.token_hex(8)
        self._heard = 0
        self._probes = Probes()
        self._epoch: str | None = None  # of the data set that it had when it was asked first
        self._lost_at: float | None = None
        self._refused = False  # whether it was said that Redis refuses us
        self._subscribed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        self._reading: RespProtocol
        self._heard_before, self._cut_offs = (
            "",
            0,
        )  # which server was heard last, and what it counted
        self._next: AbstractConnection | None = None

    @property
    def lag(self) -> float:
        """Seconds that this node's last probe took through Redis and back."""
        return self._probes.lag

    def adopt(self, other: "Subscriber") -> None:
        """Hear events as long as those that `other` would."""
        self._max_bytes = other._max_bytes

    async def start(self, sink: Sink, within: float = 2.0) -> None:
        """Tell `sink` what is heard; wait for Redis `within` seconds, but do not insist on it."""
        self._sink = sink
        self._task = asyncio.create_task(self._supervise(), name="aionotify subscriber")
        try:
            async with tasks.timeout(within):
                await self._subscribed.wait()
        except TimeoutError:
            _log.warning("started without Redis", extra={"fields": {"reason": self.problem}})

    async def renew(self) -> None:
        """Make the endpoint's connections anew, and this one last.

        Streams go on; what is published meanwhile is in the inboxes. If Redis cannot be entered as
        it would be now, whoever is in stays in.
        """
        try:
            await self._endpoint.renew()
            new = await self._endpoint.subscriber()
        except BrokerError as error:
            _log.warning("Redis connections not renewed", extra={"fields": {"reason": str(error)}})
            return
        if self._connection is None or self._next is not None:  # it is being made anew already
            await new.disconnect(nowait=True)
        else:
            self._next = new
            lose(self._connection)
        _log.info("Redis connections renewed")

    async def close(self) -> None:
        if self._task is not None:
            await tasks.cancelled([self._task])
            self.problem = "closed"
        if self._next is not None:
            await self._next.disconnect(nowait=True)

    # --- whose durable events are wanted ------------------------------------------------------

    def want(self, of: Ordered) -> None:
        """Hear a recipient's durable events, or a shard's; the sink's `confirmed` says from when
        on.
        """
        channel = self._keys.live(of).encode()
        self._wanted[channel] = of
        self._changed[channel] = None
        self._change.set()

    def drop(self, of: Ordered) -> None:
        """Hear them no longer."""
        channel = self._keys.live(of).encode()
        del self._wanted[channel]
        self._changed[channel] = None
        self._change.set()

    # --- the connection -----------------------------------------------------------------------

    async def _supervise(self) -> None:
        delay = _BACKOFF[0]
        while True:
            try:
                # A task of its own takes with it the mark that its TaskGroup leaves; see `tasks`.
                await asyncio.create_task(self._session(), name="aionotify subscriber: session")
            except* (*LOST, BrokerError, SilentConnection, OtherMaster) as errors:
                if self._next is None:
                    self._lost(_cause(errors))
            except* Exception as errors:  # noqa: BLE001 - the node lives, and so must its subscriber
                _log.exception("subscriber failed")
                self._lost(_cause(errors))
            tasks.obey()
            if self._next is not None:
                continue
            # One generation: what is read and written from now on is at the master that is heard.
            self._endpoint.drop("the subscriber connects anew")
            if self._subscribed.is_set():
                self._subscribed.clear()
                delay = _BACKOFF[0]
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _BACKOFF[1])

    async def _session(self) -> None:
        connection, self._next = self._next or await self._endpoint.subscriber(), None
        self._connection = connection
        self._stats.redis_connects += 1
        self._sent.clear()
        self._confirmed.clear()
        self._changed = dict.fromkeys(self._wanted)
        self._change.set()
        self._probes.forget()
        self._epoch = None
        try:
            heard_from = await self._endpoint.run_id_of(connection)
            self._endpoint.heard_from = heard_from
            before, self._cut_offs = self._cut_offs, await self._endpoint.cut_offs_of(connection)
            if heard_from == self._heard_before and self._cut_offs > before:
                self.overload.cut_off()
            self._heard_before = heard_from
            # On each, before any stream reads by what it says.
            for _ in range(self._data_set.connections):
                found = await self._ask()
                if heard_from and found.run_id and found.run_id != heard_from:
                    raise OtherMaster("another server answers than the one that is heard")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(connection), name="aionotify subscriber: read")
                group.create_task(
                    self._subscribe(connection), name="aionotify subscriber: subscribe"
                )
                group.create_task(self._probe(), name="aionotify subscriber: probe")
        finally:
            self._connection = None
            self._sink.lost()
            await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        self._reading = start_reading(connection, self._heard_some)
        await self._reading.lost

    def _lost(self, cause: BaseException) -> None:
        """Say so once, and once more if Redis is there and refuses us: that will not pass."""
        self.problem = reason = f"{type(cause).__name__}: {cause}".removesuffix(": ")
        refused = isinstance(cause, BrokerRefused)
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._stats.redis_losses += 1
        elif self._refused or not refused:
            return
        self._refused = refused
        _log.warning("not subscribed to Redis", extra={"fields": {"reason": reason}})

    def _found(self) -> None:
        self.problem = None
        self._refused = False
        self._subscribed.set()
        fields: dict[str, object] = {"redis": self._endpoint.description}
        if self._lost_at is not None:
            fields["after"] = round(time.monotonic() - self._lost_at, 3)
            self._lost_at = None
        _log.info("subscribed to Redis", extra={"fields": fields})

    async def _subscribe(self, connection: AbstractConnection) -> None:
        while True:
            await self._change.wait()
            self._change.clear()
            changed, self._changed = self._changed, {}
            join, leave = [], []
            for channel in changed:
                if channel not in self._wanted:
                    if channel in self._sent:
                        leave.append(channel)
                elif channel not in self._sent:
                    join.append(channel)
                elif channel in self._confirmed:
                    # Dropped and wanted again before anything was sent: heard all the while.
                    self._sink.confirmed(self._wanted[channel])
            self._sent.update(join)
            self._sent.difference_update(leave)
            self._confirmed.difference_update(leave)
            for some in portions(leave, _CHANNELS):
                await send(connection, "UNSUBSCRIBE", *some)
            for some in portions(join, _CHANNELS):
                await send(connection, "SUBSCRIBE", *some)
            # In a storm of new streams, a command for each would be what costs most.
            await asyncio.sleep(_BATCH_WINDOW)

    async def _probe(self) -> None:
        """Publish to ourselves: a half-open connection shows no other sign (nor does a server
        that was cut off from those who publish).
        """
        while True:
            heard = self._heard
            await asyncio.sleep(PROBE_INTERVAL)
            self.overload.look()
            if self._probes.astray:
                raise OtherMaster("a probe was published where nothing is heard from")
            # Behind a backlog of messages a probe may be late: that is load, not silence.
            if self._probes.unheard >= MAX_UNHEARD_PROBES and heard == self._heard:
                raise SilentConnection("no message received, not even our own probe")
            number = self._probes.send()
            message = msgspec.json.encode(Control(probe=self._node, probe_number=number))
            try:
                async with tasks.timeout(PROBE_TIMEOUT):
                    found = await self._ask(message)
                self._settle(self._probes.answered(number, found.clock))
            except OtherServer as error:
                raise OtherMaster(str(error)) from error
            except (BrokerError, TimeoutError):
                pass  # what counts is whether it is heard
            tasks.obey()
            await self._look_elsewhere()

    async def _look_elsewhere(self) -> None:
        """Ask the sentinels, if there are any, whether it is still the master that is heard."""
        if (connection := self._connection) is None:
            return
        try:
            async with tasks.timeout(PROBE_TIMEOUT):
                other = await self._endpoint.elsewhere(connection)
        except (BrokerError, TimeoutError):
            return  # nobody knows better
        if other is not None:
            raise OtherMaster(other)

    async def _ask(self, message: bytes = b"") -> Probed:
        """Learn what Redis says of its data set."""
        found = await self._data_set.probe(self._keys.control if message else "", message)
        if found.read_only:
            raise OtherMaster(found.refused)
        heard_from = self._endpoint.heard_from
        if message and heard_from and found.run_id not in ("", heard_from):
            raise OtherMaster("another server answers than the one that is heard")
        self.store.found(found.refused)
        self._epoch = self._epoch or self._data_set.epoch
        if self._epoch != self._data_set.epoch:
            # What was published by the other one may still be on its way here. It ends with this
            # connection; positions of both are not to be told apart.
            raise OtherMaster("Redis has lost its data, or has others")
        self._sink.data_set(self._data_set)
        return found

    def _settle(self, clock: int | None) -> None:
        if clock is None:
            return
        self._data_set.settle(clock)
        if self._epoch == self._data_set.epoch:  # else it is about to be left, see `_ask`
            self._sink.data_set(self._data_set)

    # --- what is heard ------------------------------------------------------------------------

    def _heard_some(self, messages: list[Any]) -> None:
        """Have what comes together written together, and one that comes alone at once."""
        self._heard += len(messages)
        several = len(messages) > 1
        if several:
            self._sink.hold()
        for message in messages:
            try:
                self._hear(message)
            except InvalidEvent as error:
                self._stats.events_invalid += 1
                self._sampled.warning(
                    "skipped an invalid event", {"from": "pub/sub", "reason": str(error)}
                )
            except Exception:  # noqa: BLE001 - one message must not cost us all others
                _log.exception("failed to dispatch a message")
        if several:
            self._sink.release()
        # Thousands of confirmations come at once as well, when as many clients do.
        behind = self._reading.is_behind() and messages[-1][0] == b"message"
        if behind or self.overload.behind:
            self.overload.taken(behind=behind)

    def _hear(self, message: Any) -> None:
        kind, channel, data = message
        if kind == b"message":
            if of := self._wanted.get(channel):
                if isinstance(of, str):
                    self._hear_live(of, data)
                else:
                    self._hear_shard(of, data)
            elif channel == self._ephemeral:
                self._hear_shared(data)
            elif channel == self._control:
                self._hear_control(data)
        elif kind == b"subscribe":
            self._hear_confirmation(channel)

    def _hear_live(self, recipient_id: str, data: bytes) -> None:
        if data.startswith(EPHEMERAL_MARK):
            if self.overload.sheds:
                self._shed()
            else:
                self._sink.ephemeral(parse_ephemeral(data, recipient_id, self._max_bytes))
        elif data.startswith(notice.MARK):
            self._sink.notice(recipient_id, *notice.parse(data))
        else:
            entry = parse_entry(data, recipient_id, self._max_bytes)
            self._sink.durable(recipient_id, entry)

    def _hear_shard(self, shard: int, data: bytes) -> None:
        """All events of a shard are heard; most may be for groups that nobody here is in."""
        copy = parse_copy(data)
        is_here = self._sink.has_group(copy.group)
        event = decode_copy(data, copy, self._max_bytes) if is_here else None
        if copy.position:
            entry = Entry(copy.position, copy.previous, event, copy.group, copy.before)
            self._sink.durable_to_group(shard, entry)
        elif event is not None:
            self._sink.ephemeral_to_group(copy.group, copy.before, event)

    def _hear_shared(self, data: bytes) -> None:
        """Every node hears what is published for anybody; most of it is for users of others."""
        if self.overload.sheds:
            self._shed()
            return
        user_id = sole_recipient(data)
        if user_id is None or self._sink.has(user_id) or len(data) > self._max_bytes:
            self._sink.ephemeral(decode(data, self._max_bytes))
        else:
            self._stats.events_ephemeral += 1
            self._stats.dropped_no_stream += 1

    def _shed(self) -> None:
        self._stats.events_ephemeral += 1
        self._stats.dropped_overload += 1

    def _hear_confirmation(self, channel: bytes) -> None:
        if channel not in self._sent:
            return  # dropped again meanwhile
        self._confirmed.add(channel)
        if of := self._wanted.get(channel):
            self._sink.confirmed(of)
        if self.problem is not None and self._always.keys() <= self._confirmed:
            self._found()

    def _hear_control(self, data: bytes) -> None:
        control = decode_control(data)
        if control.probe == self._node:
            self._settle(self._probes.heard(control.probe_number))
        if control.revoke is not None:
            self._sink.revoked(control)
        if control.question is not None:
            self._sink.asked(control.question)
        if control.membership is not None:
            self._sink.membership(control.membership)


def _cause(error: BaseException) -> BaseException:
    """The first cause in a group, as ours; redis-py's texts name the address, never a password."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return translate(error) if isinstance(error, LOST) else error
