"""The life of one stream: opened, catching up, live, behind, ended.

A stream is an aiohttp-sse response whose frames are written straight to the transport. It has no
queue, timer or task of its own: the request's handler runs the catch-up and is parked while the
stream is live, the hub pushes live events, the heartbeat beats.

    open ──> CATCH-UP ──> LIVE ──> ended: gone, stalled, or whatever `close` was told
                 ^          │
                 └──────────┘  socket full, an event missed, subscription rebuilt

Catch-up and live join without a buffer: pages are read until the stream's position equals the
newest that the hub knows of, and then the stream is live in that same step of the event loop.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp_sse
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from aionotify.errors import BrokerError, InboxRefused
from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.frame import chunk, control_frame, frame
from aionotify.events.page import GapReason, Page
from aionotify.events.position import (
    NOWHERE,
    Question,
    after_gap,
    common_end,
    is_known,
    is_there,
    latest,
    merged,
    reached,
    to_read,
    unreadable,
)
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason
from aionotify.streams.recipient import Recipient

HEADERS: Final = {
    # The charset is always UTF-8. Some clients take a text without the word for Latin-1.
    "Content-Type": "text/event-stream; charset=utf-8",
    # no-cache, which aiohttp-sse sets, lets a cache keep what it has to ask about again;
    # no-transform keeps compressing proxies from collecting events until a block is full.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx
    "X-Content-Type-Options": "nosniff",
}
_HEARTBEAT: Final = b":\n"  # a comment, and no blank line: some parsers dispatch at every one
_WRITE_AT: Final = 16384  # bytes queued in one loop step that are written before more are queued
_UNSENT: Final = 16384  # bytes in the kernel that have not been sent yet
_TCP: Final = (socket.AF_INET, socket.AF_INET6)
_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
_RETRY_AFTER_ERROR: Final = (0.2, 1.0)  # seconds; random, so that not all streams ask at once
_EXPIRED: Final = frozenset(
    {CloseReason.TOKEN_EXPIRED, CloseReason.TOKEN_REFUSED, CloseReason.REVOKED}
)
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST


class Inbox(Protocol):
    """Where durable events are kept."""

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        """The page after a position.

        The future raises BrokerError when it cannot be read now, and InboxRefused when that will
        not change by itself.
        """


@dataclass(slots=True, frozen=True)
class StreamSettings:
    """What all streams of a node have in common.

    Attributes:
        send_timeout: seconds that a client may take nothing before it is cut off.
        retry: milliseconds a client waits before it connects again.
        buffer: bytes that may wait in this process for one client.
    """

    send_timeout: float = 30
    retry: int = 3000
    buffer: int = 65536
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)

    def come_back(self) -> bytes:
        """Return the line with which a node that leaves says when to come back.

        Half to one and a half times the usual: its clients must not all arrive at the next node in
        the same moment.
        """
        return b"retry: %d\n" % int(self.retry * random.uniform(0.5, 1.5))


class NotificationStream(aiohttp_sse.EventSourceResponse):
    """One open stream of one user.

    Attributes:
        live: whether the hub may push durable events.
        ended: why it did, or None while it is open.
        events: how many events were written to it.
    """

    slice: int
    recipient: Recipient
    _send_headers_immediately = False  # aiohttp's word for: together with the first of the body

    def __init__(self, settings: StreamSettings, hub: Hub, recipient: Recipient) -> None:
        super().__init__(send_timeout=settings.send_timeout)
        # Connection is forbidden in HTTP/2 (RFC 9113 section 8.2.2), and Safari rejects a
        # response that a proxy passed on with it.
        del self.headers["Connection"]
        self.headers.update(settings.headers)
        self.recipient = recipient
        self.live = False
        self.ended: CloseReason | None = None
        self.events = 0
        self._settings = settings
        self._hub = hub
        self._revocations = recipient.revocations
        self._at = Cursor(0, 0)
        self._epoch: str | None = None  # of the data set that this is a position in
        self._other_epoch: str | None = None  # of the one to which it has been moved in between
        self._known_gone: dict[Recipient, int] = {}  # what the client was told of, or came after
        self._told = 0  # what was settled when the client was given a fresh cursor last
        self._queue: list[bytes] = []
        self._queued = 0
        self._sent = 0
        self._taken = 0
        self._stalled_at: float | None = None
        self._interrupted = False
        self._in_chunks = True
        self._writer: AbstractStreamWriter
        self._transport: asyncio.Transport
        self._task: asyncio.Task[Any] | None = None

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the headers. As in aiohttp-sse, but for its ping task: heartbeats come from one
        task for all streams, and a future in its place keeps `wait` and `is_connected` what they
        are.
        """
        if self.prepared:
            return await super().prepare(request)
        if request.transport is None:
            raise asyncio.CancelledError  # the client left meanwhile; aiohttp-sse does the same
        self._bound_kernel(request.transport)
        self._in_chunks = request.version >= (1, 1)
        if self._in_chunks:
            self.enable_chunked_encoding()
        if self._hub.draining or not self._in_chunks:
            self.force_close()  # nothing else tells an HTTP/1.0 client where the stream ends
        writer = await super(aiohttp_sse.EventSourceResponse, self).prepare(request)
        assert writer is not None
        if request.transport is None:
            raise asyncio.CancelledError  # or while the application's signals took their time
        self._writer, self._transport = writer, request.transport
        # The protocol is paused as soon as the socket is full, so drain() waits for just that.
        self._transport.set_write_buffer_limits(high=0)
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        return writer

    # --- the handler's side ---------------------------------------------------------------------

    async def run(
        self, inbox: Inbox, heartbeat: Heartbeat, start: Cursor, epoch: str | None = None
    ) -> None:
        """Serve the prepared stream until it ends; `ended` then says why.

        Args:
            start: the position after which the client wants everything.
            epoch: of which data set that is; None for whichever there is.

        Raises:
            asyncio.CancelledError: somebody else cancelled the handler: the client is gone.
        """
        self._at, self._epoch = start, epoch
        self._told = self._hub.settled
        self._known_gone = {each: each.gone for each in (self._hub.everyone, self.recipient)}
        self._hub.attach(self)
        heartbeat.add(self)
        try:
            # The head is still waiting for this: one system call, one packet, one wake-up.
            opening = self._control(
                "open",
                reason="connected",
                user_id=self.recipient.id,
                heartbeat=heartbeat.interval,
            )
            await self._writer.write(b"retry: %d\n%b" % (self._settings.retry, opening))
            if self._hub.closed:
                self.close(CloseReason.DRAIN)  # which began while this stream was being opened
            if self.recipient.revocations != self._revocations:
                self.close(CloseReason.REVOKED)  # an application's handlers may prepare it for long
            self._task = asyncio.current_task()
            while self.ended is None:
                await self._catch_up(inbox)
                await self._ping_task  # type: ignore[misc]  # parked: the hub pushes
        except asyncio.CancelledError:
            if self._task is None or not self._interrupted or self._task.uncancel():
                self.ended = self.ended or CloseReason.GONE
                raise
        except ConnectionError:
            self.ended = self.ended or CloseReason.GONE
        finally:
            self.live = False
            self._task = None
            self._hub.detach(self)
            self.flush()  # what came while we were ending: nothing may follow the end
            heartbeat.discard(self)
            self.ended = self.ended or CloseReason.FAILED
            self._hub.stats.closed[self.ended] += 1
            if self._transport.get_write_buffer_size():
                self._reset()

    async def _catch_up(self, inbox: Inbox) -> None:
        """Read both inboxes until nothing is missing that the hub knows of; then be live."""
        everyone, own = self._hub.everyone, self.recipient
        while self._is_elsewhere() or not (
            is_known(self._at.everyone, everyone.newest, self._hub.settled)
            and is_known(self._at.own, own.newest, self._hub.settled)
        ):
            if self._transport.is_closing():
                raise ConnectionResetError("client is gone")
            await self._writer.drain()
            try:
                pages = await self._read(inbox)
            except BrokerError:  # the subscriber says why, once; here there is only waiting
                await asyncio.sleep(random.uniform(*_RETRY_AFTER_ERROR))
            else:
                self._write_pages(pages)
        self._epoch = self._epoch or self._hub.epoch
        self.live = True

    async def _read(self, inbox: Inbox) -> list[tuple[Recipient, Page]]:
        """The next page of each inbox in which there is something to read."""
        everyone, own = self._hub.everyone, self.recipient
        await everyone.wait_subscribed()
        await own.wait_subscribed()
        if self._epoch is None:
            self._epoch = self._hub.epoch
        if self._is_elsewhere() and self._other_epoch != self._hub.epoch:
            await self._move_over(inbox)
        asked = [
            (recipient, after)
            for recipient, at in ((everyone, self._at.everyone), (own, self._at.own))
            for after in to_read(at, recipient.newest, self._hub.settled)
        ]
        questions, pages = await self._pages(inbox, asked)
        for (recipient, _), question, page in zip(asked, questions, pages, strict=True):
            self._hub.apply_page(recipient, question, page)
        # Of two pages of one inbox the last is the one after this stream's own position.
        ours = {recipient: page for (recipient, _), page in zip(asked, pages, strict=True)}
        return list(ours.items())

    async def _pages(
        self, inbox: Inbox, asked: Sequence[tuple[Recipient, int]]
    ) -> tuple[list[Question], list[Page]]:
        questions = [recipient.question(after) for recipient, after in asked]
        answers = [inbox.read(recipient.id, after) for recipient, after in asked]
        pages = []
        for question, answer in zip(questions, answers, strict=True):
            try:
                pages.append(await answer)
            except InboxRefused:  # no reason to do without the events of the other inbox
                pages.append(unreadable(question, self._hub.settled))
        return questions, pages

    def _is_elsewhere(self) -> bool:
        """Whether Redis has another data set than that of which the client has a position."""
        return self._epoch is not None and self._epoch != (self._hub.epoch or self._epoch)

    async def _move_over(self, inbox: Inbox) -> None:
        """Find out where the stream is in a data set that is another one than its position's.

        At the event that it had last, if that is there, for it was live when the data set was lost,
        and heard that from the new one; else at its beginning.
        """
        epoch, at = self._hub.epoch, self._at
        asked = ((self._hub.everyone, at.everyone), (self.recipient, at.own))
        _, pages = await self._pages(inbox, asked)
        self._at = Cursor(
            *(
                position if is_there(position, page) else NOWHERE
                for (_, position), page in zip(asked, pages, strict=True)
            )
        )
        self._other_epoch = epoch

    def _write_pages(self, pages: list[tuple[Recipient, Page]]) -> None:
        """Write what was read, events of both inboxes in the order in which they were published."""
        end = common_end(page for _, page in pages)
        frames = []
        gaps = [page.gap for _, page in pages if page.gap is not None]
        for recipient, _ in pages:
            known, self._known_gone[recipient] = self._known_gone[recipient], recipient.gone
            if recipient.gone > latest((known, self._position(recipient))):
                gaps.append(GapReason.LOST)
        if self._is_elsewhere():
            if self._other_epoch != self._hub.epoch:
                return  # it has been lost again meanwhile
            self._epoch, self._other_epoch = self._hub.epoch, None
            gaps = [GapReason.LOST]  # whatever an inbox says of a position that was never in it
        if gaps:
            for recipient, page in pages:
                if page.gap is not None:
                    self._move(recipient, after_gap(page))
            self._hub.stats.gaps[gaps[-1]] += 1
            frames.append(self._control("gap", reason=gaps[-1]))
        for recipient, entry in merged(pages, end):
            self._move(recipient, entry.position)
            event = entry.event
            frames.append(frame(event.data(recipient.id), event.type, self._cursor()))
            self.events += 1
            self._hub.stats.delivered_catch_up += 1
        for recipient, page in pages:
            if (position := reached(page, end, recipient.newest)) is not None:
                self._move(recipient, position)
        if frames:
            self._write(b"".join(frames))

    def _position(self, recipient: Recipient) -> int:
        return self._at.own if recipient is self.recipient else self._at.everyone

    def _move(self, recipient: Recipient, position: int) -> None:
        if recipient is self.recipient:
            self._at = Cursor(self._at.everyone, position)
        else:
            self._at = Cursor(position, self._at.own)

    # --- the hub's side: plain functions --------------------------------------------------------

    def push(self, chunk: bytes) -> bool:
        """Queue one frame, already a chunk; False when the client's socket is full."""
        if self._queued > _WRITE_AT:
            self.flush()
        waiting = self._transport.get_write_buffer_size()
        if waiting and waiting + self._queued + len(chunk) > self._settings.buffer:
            return False
        if not self._queued:
            self._hub.unflushed(self)
        self._queue.append(chunk)
        self._queued += len(chunk)
        self.events += 1
        return True

    def flush(self) -> None:
        """Write all that is queued, in one system call."""
        queue = self._queue
        if not queue:
            return
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        self._queued = 0
        self._send(data if self._in_chunks else _unchunk(data))

    def fall_behind(self, at: Cursor) -> None:
        """Stop being live: the handler goes on from the inbox, after `at`."""
        self.live = False
        self._at = at
        parked = self._ping_task
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        if parked is not None and not parked.done():
            parked.set_result(None)

    def close(self, reason: CloseReason) -> None:
        """End the stream, and tell the client why if that is of use to it."""
        if self.ended is not None:
            return
        if self.live:
            self._at = self._hub.position(self.recipient) or self._at
        self.ended = reason
        self.flush()
        if reason is CloseReason.DRAIN:
            self._write(self._settings.come_back() + self._control("drain", reason=reason))
        elif reason in _EXPIRED:
            self._write(self._control("expired", reason=reason))
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    def buffered(self) -> int:
        return self._queued + self._transport.get_write_buffer_size()

    def beat(self) -> None:
        """Write a heartbeat; cut off a client that takes nothing, end for one that is gone."""
        if self._transport.is_closing():
            self.close(CloseReason.GONE)
            return
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._stalled_at = None
            self._write(_HEARTBEAT)
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
        if self.live and self._told < hub.aged and (at := hub.position(self.recipient)):
            self._told, self._at = hub.settled, at
            self._write(self._control("position", reason="nothing_missed"))

    # --- bytes ----------------------------------------------------------------------------------

    def _control(self, type: str, **members: str | float) -> bytes:
        return control_frame(type, self._cursor(), **members)

    def _cursor(self) -> bytes:
        at = self._at
        epoch = self._hub.epoch if self._epoch is None else self._epoch
        return cursor.everyone_part(epoch, at.everyone) + self.recipient.own_part(at.own)

    def _write(self, data: bytes) -> None:
        self.flush()
        self._send(chunk(data) if self._in_chunks else data)

    def _send(self, data: bytes) -> None:
        # asyncio logs a warning for every write to a lost connection
        if not self._transport.is_closing():
            self._sent += len(data)
            self._transport.write(data)

    def _bound_kernel(self, transport: asyncio.BaseTransport) -> None:
        """Have the socket say that it is full long before the kernel has taken megabytes, and end
        when what it has taken is not acknowledged for as long as a client may take nothing.

        In place of aiohttp-sse's `_set_tcp_user_timeout`, which also keeps what there was before,
        for a connection that outlives its stream; none of ours does.
        """
        sock = transport.get_extra_info("socket")
        if sock is None or sock.family not in _TCP or sock.fileno() < 0:
            return
        # uvloop would make another socket for each option, and so does this, but once.
        own = socket.SocketType(sock.family, sock.type, sock.proto, sock.fileno())
        try:
            if _NOTSENT_LOWAT is not None:
                own.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT)
            if _USER_TIMEOUT is not None:
                untaken = int(self._settings.send_timeout * 1000)
                own.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, untaken)
        finally:
            own.detach()

    def _reset(self) -> None:
        """Close with RST: after a polite close the kernel would keep what the client never took,
        up to some megabytes, until it gives up on it.
        """
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in _TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


def _unchunk(data: bytes) -> bytes:
    """The frames in a run of chunks, for a client of HTTP/1.0."""
    frames = []
    while data:
        size, _, rest = data.partition(b"\r\n")
        end = int(size, 16)
        frames.append(rest[:end])
        data = rest[end + 2 :]
    return b"".join(frames)
