"""The life of one stream: opened, catching up, live, behind, ended.

A stream writes frames straight to the transport of its connection. It has no queue between steps of
the event loop and no timer, and a task only while it catches up: the hub pushes live events, the
heartbeat beats, and the transport says when the client is gone.

    open ──> CATCH-UP ──> LIVE ──> ended: gone, stalled, or whatever `close` was told
                 ^          │
                 └──────────┘  socket full, an event missed, subscription rebuilt

Knows neither requests nor who may listen.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.frame import chunk, control_frame
from aionotify.events.group import mark
from aionotify.events.position import NOWHERE, latest, own_guess
from aionotify.streams import sockets
from aionotify.streams.catch_up import CatchUp, Inbox
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason
from aionotify.streams.recipient import Group, Recipient, Shard, StreamReport, shards_of

_log = logging.getLogger(__name__)

_HEARTBEAT: Final = b":\n"  # a comment, and no blank line: some parsers dispatch at every one
_END: Final = b"0\r\n\r\n"  # of a chunked body
_WRITE_AT: Final = 16384  # bytes queued in one loop step that are written before more are queued
_MAX_RECEIVED: Final = 65536  # bytes; a client has nothing to say once a stream is open
_NO_GROUPS: Final[Mapping[bytes, int]] = MappingProxyType({})
_EXPIRED: Final = frozenset(
    {CloseReason.TOKEN_EXPIRED, CloseReason.TOKEN_REFUSED, CloseReason.REVOKED}
)


@dataclass(slots=True, frozen=True)
class StreamSettings:
    """What all streams of a node have in common.

    Attributes:
        send_timeout: seconds that a client may take nothing before it is cut off.
        retry: milliseconds a client waits before it connects again.
        buffer: bytes that may wait in this process for one client.
        hand_over: whether a stream takes its connection over from aiohttp.
    """

    send_timeout: float = 30
    retry: int = 3000
    buffer: int = 65536
    hand_over: bool = True

    def come_back(self) -> bytes:
        """Return the line with which a node that leaves says when to come back.

        Half to one and a half times the usual: its clients must not all arrive at the next node in
        the same moment.
        """
        return b"retry: %d\n" % int(self.retry * random.uniform(0.5, 1.5))


class Stream(asyncio.Protocol):
    """One open stream of one user.

    Args:
        start: the position after which the client wants everything.
        epoch: of which data set that is; None for whichever there is.
        groups: those that it is in, which it gives back to the hub when it has ended.
        fresh: the shards of these that it begins with just now: they are new to its user.
        marks: asks what the user has read, as data of ``aionotify.read``; None if the client
            does not want to be told when it comes, or comes back.

    Attributes:
        live: whether the hub may push durable events.
        ended: why it did, or None while it is open.
        opened_at: when it was, by the monotonic clock.
        events: how many events were written to it.
        groups: those that it is in.
        shards: in which these lie.
        at: where the client is, while it is not live.
        epoch: of the data set that this is a position in.
        needs_marks: whether the client is to be told what the user has read.
        slice: the heartbeat's.
    """

    __slots__ = (
        "_catching_up",
        "_drain",
        "_ended",
        "_heartbeat",
        "_hub",
        "_in_chunks",
        "_inbox",
        "_joined",
        "_kept",
        "_marks",
        "_on_end",
        "_paused",
        "_queue",
        "_queued",
        "_received",
        "_resumed",
        "_revocations",
        "_sent",
        "_settings",
        "_stalled_at",
        "_taken",
        "_told",
        "_transport",
        "at",
        "ended",
        "epoch",
        "events",
        "groups",
        "live",
        "needs_marks",
        "opened_at",
        "recipient",
        "shards",
        "slice",
    )

    def __init__(
        self,
        settings: StreamSettings,
        hub: Hub,
        recipient: Recipient,
        inbox: Inbox,
        heartbeat: Heartbeat,
        *,
        start: Cursor,
        epoch: str | None = None,
        groups: tuple[Group, ...] = (),
        fresh: Collection[Shard] = (),
        marks: Callable[[], Awaitable[list[dict[str, Any]]]] | None = None,
    ) -> None:
        self.recipient = recipient
        self.live = False
        self.ended: CloseReason | None = None
        self.opened_at = time.monotonic()
        self.events = 0
        self.at, self.epoch = start, epoch
        self._hub = hub
        self.groups = groups
        self.shards = shards_of(groups) if groups else ()
        # The receivers that it is, by their marks, and since when.
        self._joined = _NO_GROUPS
        if groups:
            self._join(
                (group, self._now(start, group) if group.shard in fresh else NOWHERE)
                for group in groups
            )
        self.slice = 0
        self._settings = settings
        self._marks = marks
        self.needs_marks = marks is not None
        self._inbox = inbox
        self._heartbeat = heartbeat
        self._on_end: Callable[[Stream], None]
        self._revocations = recipient.revocations
        self._told = hub.settled  # when the client was given a fresh cursor last
        self._queue: list[bytes] = []
        self._kept: tuple[bytes, ...] = ()
        self._queued = 0
        self._sent = self._taken = self._received = 0
        self._stalled_at: float | None = None
        self._in_chunks = True
        self._transport: asyncio.Transport
        self._drain: Callable[[], Awaitable[None]] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._paused = False
        self._resumed: asyncio.Future[None] | None = None
        self._catching_up: asyncio.Task[None] | None = None

    @property
    def inboxes(self) -> tuple[Recipient, ...]:
        """Whose events it is for: everyone, its user, the shards of its groups."""
        return (self._hub.everyone, self.recipient, *self.shards)

    # --- opening --------------------------------------------------------------------------------

    def opening(self, **more: float) -> bytes:
        """The first that a client is told, to be sent in the step in which the stream begins.

        Args:
            more: what it is told beside what all are.
        """
        opening = self.control(
            "open",
            reason="connected",
            user_id=self.recipient.id,
            heartbeat=self._heartbeat.interval,
            **more,
        )
        return b"retry: %d\n%b" % (self._settings.retry, opening)

    def begin(
        self,
        transport: asyncio.Transport,
        on_end: Callable[["Stream"], None],
        *,
        in_chunks: bool = True,
        drain: Callable[[], Awaitable[None]] | None = None,
        ended: asyncio.Future[None] | None = None,
    ) -> None:
        """Write to `transport` from now on.

        Args:
            on_end: called once, when the stream has ended.
            in_chunks: whether the body is chunked.
            drain, ended: given where the transport has another protocol than the stream: waits
                until nothing waits in this process for the client; done when the stream has ended,
                whose body and connection are then somebody else's to end.
        """
        self._transport, self._on_end, self._in_chunks = transport, on_end, in_chunks
        self._drain, self._ended = drain, ended
        # Writing is paused as soon as the socket is full, so that draining waits for just that.
        # At 0, TLS would pause when nothing waits, and not resume until something is written.
        transport.set_write_buffer_limits(high=1)
        # Where aiohttp keeps the connection, what waits is its to know, and `drain` waits for it.
        self._paused = drain is not None or self._waiting() > 0
        if ended is None and not transport.is_reading():
            transport.resume_reading()  # or nobody would say that the client has left
        self._hub.attach(self)
        self._heartbeat.add(self)
        if self._hub.closed:
            self.close(CloseReason.DRAIN)  # which began while this stream was being opened
        elif self.recipient.revocations != self._revocations:
            self.close(CloseReason.REVOKED)  # an application's handlers may prepare it for long
        elif self.is_caught_up():
            self.join()
        else:
            self._go_on()

    # --- catching up ----------------------------------------------------------------------------

    def is_caught_up(self) -> bool:
        """Whether nothing is missing that the hub knows of, or was lost without a word."""
        if self.needs_marks or self.is_elsewhere():
            return False
        return all(
            each.is_known(self.at[each.place], self._hub.settled, self.groups)
            for each in self.inboxes
        )

    def is_elsewhere(self) -> bool:
        """Whether Redis has another data set than that of which the client has a position."""
        return self.epoch is not None and self.epoch != (self._hub.epoch or self.epoch)

    async def tell_marks(self) -> None:
        """Tell the client what the user has read, once that is heard which others mark from now on.

        Raises BrokerError: Redis cannot be asked now.
        """
        assert self._marks is not None
        await self.recipient.wait_subscribed()
        self.needs_marks = False
        try:
            told = await self._marks()
        except BaseException:
            self.needs_marks = True
            raise
        if told:
            self.write(b"".join(control_frame("read", **members) for members in told))

    def join(self) -> None:
        """Be live: nothing is missing."""
        self.epoch = self.epoch or self._hub.epoch
        self.live = True
        self._catching_up = None
        if self._kept:
            kept, self._kept = b"".join(self._kept), ()
            self.flush()
            self._send(kept if self._in_chunks else _unchunk(kept))

    def _go_on(self) -> None:
        self._catching_up = asyncio.get_running_loop().create_task(
            self._catch_up(), name="aionotify catch-up"
        )

    async def _catch_up(self) -> None:
        try:
            await CatchUp(self, self._hub, self._inbox).run()
        except ConnectionError:
            self.close(CloseReason.GONE)
        except Exception:  # noqa: BLE001 - nobody else would end it
            _log.exception("stream failed", extra={"fields": {"user": self.recipient.id}})
            self.close(CloseReason.FAILED)

    def is_closing(self) -> bool:
        """Whether the client is gone."""
        return self._transport.is_closing()

    async def drain(self) -> None:
        """Wait until nothing waits in this process for the client to take it."""
        if self._drain is not None:
            await self._drain()
            return
        while self._paused and not self._transport.is_closing():
            self._resumed = asyncio.get_running_loop().create_future()
            await self._resumed

    # --- the hub's side: plain functions --------------------------------------------------------

    def push(self, chunk: bytes) -> bool:
        """Write one frame, already a chunk; False when the client's socket is full."""
        if self._queued > _WRITE_AT:
            self.flush()
        if self._paused:
            waiting = self._waiting()
            if waiting and waiting + self._queued + len(chunk) > self._settings.buffer:
                return False
        self.events += 1
        if not self._hub.holds:
            if self.ended is None:  # nothing may follow the end
                self._send(chunk if self._in_chunks else _unchunk(chunk))
            return True
        if not self._queued:
            self._hub.unflushed(self)
        self._queue.append(chunk)
        self._queued += len(chunk)
        return True

    def tell_later(self, chunk: bytes) -> bool:
        """Keep one frame, already a chunk, until the stream is live again.

        False when too much is kept already.
        """
        if sum(map(len, self._kept)) + len(chunk) > self._settings.buffer:
            return False
        self._kept += (chunk,)
        return True

    def flush(self) -> None:
        """Write all that is queued, in one system call."""
        queue = self._queue
        if not queue:
            return
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._queued = 0
        if self.ended is None:  # nothing may follow the end
            self._send(data if self._in_chunks else _unchunk(data))

    def fall_behind(self, at: Cursor) -> None:
        """Stop being live: go on from the inbox, after `at`."""
        self.live = False
        self.at = at
        self.needs_marks = self._marks is not None
        self._go_on()

    # --- groups ---------------------------------------------------------------------------------

    def passes_over(self, before: frozenset[bytes], position: int) -> bool:
        """Whether it gets an event as one of these receivers, and not by the copy at `position`.

        It has got none by a group that its user was not in yet.
        """
        joined = self._joined
        return any(joined[each] < position for each in joined.keys() & before)

    def regroup(self, groups: frozenset[str]) -> None:
        """Be in these groups from now on. In those that are new it begins with what is published
        now, or somewhat earlier.
        """
        had = {group.name for group in self.groups}
        if self.ended is not None or had == groups:
            return
        hub, attached = self._hub, self in self.recipient.streams
        at = (hub.position(self.inboxes) if self.live else None) or self.at
        if attached:
            hub.detach(self)
        new = hub.enter_groups(groups - had)
        left = [group for group in self.groups if group.name not in groups]
        stayed = tuple(group for group in self.groups if group.name in groups)
        shards, self.groups = self.shards, stayed + new
        self.shards = shards_of(self.groups)
        now = hub.settled or own_guess(time.time())
        for shard in {*shards, *self.shards}:
            if shard not in self.shards:
                at = at.moved(shard.place, NOWHERE)
            elif shard not in shards:
                at = at.moved(shard.place, now if shard.newest is None else hub.shown(shard))
        self.at = at
        since = [(each, self._joined[each.mark]) for each in stayed]
        self._join([*since, *((each, self._now(at, each)) for each in new)])
        hub.leave_groups(left)
        if attached:
            hub.attach(self)
        if self.live and not self.is_caught_up():
            self.fall_behind(at)

    def _now(self, at: Cursor, group: Group) -> int:
        """Until when the user was not in a group in which the stream begins after `at`."""
        return latest((at[group.shard.place], self._hub.clock()))

    def _join(self, groups: Iterable[tuple[Group, int]]) -> None:
        me = {mark(self.recipient.id): NOWHERE}
        self._joined = me | {group.mark: since for group, since in groups}

    def miss_notice(self) -> None:
        """Tell the client anew what the user has read, if that is of use to it."""
        self.needs_marks = self._marks is not None
        if self.needs_marks and self.live and (at := self._hub.position(self.inboxes)):
            self.fall_behind(at)

    def close(self, reason: CloseReason) -> None:
        """End the stream, and tell the client why if that is of use to it."""
        if self.ended is not None:
            return
        self.flush()
        if reason is CloseReason.DRAIN:
            self.write(self._settings.come_back() + self.control("drain", reason=reason))
        elif reason in _EXPIRED:
            self.write(self.control("expired", reason=reason))
        if self._ended is None and self._in_chunks:
            self._send(_END)
        self.ended = reason
        self.live = False
        self._hub.detach(self)
        self._heartbeat.discard(self)
        if self._catching_up is not None:
            self._catching_up.cancel()
        # uvloop has sent what was written by then.
        asyncio.get_running_loop().call_soon(self._finish)

    def _finish(self) -> None:
        assert self.ended is not None
        transport, closing = self._transport, self._transport.is_closing()
        if self._waiting() or (self.ended is CloseReason.FAILED and not closing):
            sockets.reset(transport)
        elif self._ended is None and not closing:
            transport.close()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._hub.stats.closed[self.ended] += 1
        self._on_end(self)

    def buffered(self) -> int:
        return self._queued + self._waiting()

    def _waiting(self) -> int:
        """Bytes that the transport keeps for the client."""
        try:
            return self._transport.get_write_buffer_size()
        except AttributeError:  # asyncio's of TLS does not know once it is closed
            return 0

    def report(self) -> StreamReport:
        return StreamReport(
            user_id=self.recipient.id,
            since=round(time.time() - (time.monotonic() - self.opened_at), 3),
            position=self.cursor().decode(),
            groups=sorted(group.name for group in self.groups),
            live=self.live,
            events=self.events,
            buffered_bytes=self.buffered(),
        )

    def beat(self) -> None:
        """Write a heartbeat; cut off a client that takes nothing, end for one that is gone."""
        if self._transport.is_closing():
            self.close(CloseReason.GONE)
            return
        waiting = self._waiting()
        if not waiting:
            self._stalled_at = None
            self.write(_HEARTBEAT)
            self._freshen()
            return
        taken, now = self._sent - waiting, asyncio.get_running_loop().time()
        if self._stalled_at is None or taken != self._taken:
            self._stalled_at, self._taken = now, taken
        elif now - self._stalled_at >= self._settings.send_timeout:
            self.close(CloseReason.STALLED)

    def _freshen(self) -> None:
        """Give the client another cursor, where the one that it has may be too old before long."""
        hub = self._hub
        if self.live and self._told < hub.aged and (at := hub.position(self.inboxes)):
            self._told, self.at = hub.settled, at
            self.write(self.control("position", reason="nothing_missed"))

    # --- the transport's side, where it is ours --------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Drop what a client sends after its request."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            self.close(CloseReason.UNEXPECTED_DATA)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.resume_writing()
        self.close(CloseReason.GONE)

    def pause_writing(self) -> None:
        """Something waits in this process for the client to take it."""
        self._paused = True

    def resume_writing(self) -> None:
        """Nothing does any more."""
        self._paused = False
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)

    # --- bytes ----------------------------------------------------------------------------------

    def control(self, type: str, **members: str | float) -> bytes:
        """A frame of our own, with the position that the client has."""
        return control_frame(type, self.cursor(), **members)

    def cursor(self) -> bytes:
        """The client's position, as it is told it."""
        epoch = self._hub.epoch if self.epoch is None else self.epoch
        at = (self._hub.position(self.inboxes) if self.live else None) or self.at
        head = cursor.everyone_part(epoch, at.everyone, at[2:] if self.shards else ())
        return head + self.recipient.own_part(at.own)

    def write(self, data: bytes) -> None:
        """Write frames now, after what is queued."""
        self.flush()
        self._send(chunk(data) if self._in_chunks else data)

    def _send(self, data: bytes) -> None:
        # asyncio logs a warning for every write to a lost connection
        if not self._transport.is_closing():
            self._sent += len(data)
            self._transport.write(data)


def _unchunk(data: bytes) -> bytes:
    """The frames in a run of chunks, for a client of HTTP/1.0."""
    frames = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        end = int(size, 16)
        frames.append(rest[:end])
        data = rest[end + 2 :]
    return b"".join(frames)
