"""Catching up: a stream that is behind reads its inboxes until it is live.

Catch-up and live join without a buffer: pages are read until the stream's position equals the
newest that the hub knows of, and then the stream is live in that same step of the event loop.
"""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, Protocol

from aionotify.errors import BrokerError, InboxRefused
from aionotify.events.cursor import Cursor
from aionotify.events.frame import frame
from aionotify.events.page import Entry, GapReason, Page
from aionotify.events.position import (
    BEGINNING,
    NOWHERE,
    Question,
    after_gap,
    common_end,
    heard_part,
    is_known,
    is_there,
    last_event,
    merged,
    reached,
    unreadable,
)
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Group, Recipient, Shard

_HEARD_INTERVAL: Final = (0.01, 0.05)  # seconds; pub/sub is behind what is read by less
_RETRY_INTERVAL: Final = (0.2, 1.0)  # seconds; random, so that not all streams ask at once


class Inbox(Protocol):
    """Where durable events are kept."""

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        """The page after a position.

        The future raises BrokerError when it cannot be read now, and InboxRefused when that will
        not change by itself.
        """

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> asyncio.Future[Page]:
        """The same of some groups of a shard; the page says which positions it does not know."""


class BehindStream(Protocol):
    """What is asked of a stream that is behind; see `Stream`."""

    at: Cursor
    epoch: str | None
    events: int
    groups: tuple[Group, ...]
    needs_marks: bool

    @property
    def inboxes(self) -> tuple[Recipient, ...]: ...
    def passes_over(self, before: frozenset[bytes], position: int) -> bool: ...

    def is_caught_up(self) -> bool: ...
    def is_elsewhere(self) -> bool: ...
    def is_closing(self) -> bool: ...
    def join(self) -> None: ...
    async def drain(self) -> None: ...
    async def tell_marks(self) -> None: ...
    def cursor(self) -> bytes: ...
    def control(self, type: str, **members: str | float) -> bytes: ...
    def write(self, data: bytes) -> None: ...


class CatchUp:
    """What one stream does until it is live."""

    def __init__(self, stream: BehindStream, hub: Hub, inbox: Inbox) -> None:
        self._stream = stream
        self._hub = hub
        self._inbox = inbox
        self._moved_to: str | None = None  # the epoch of the data set in which its position is now

    async def run(self) -> None:
        """Read until nothing is missing; then have the stream join.

        Ends without that when the client is gone.
        """
        stream = self._stream
        await stream.drain()  # also one that has read everything, and could not take a notice
        while not stream.is_caught_up():
            await stream.drain()
            if stream.is_closing():
                return  # the transport, or the next heartbeat, tells the stream
            try:
                if stream.needs_marks:
                    await stream.tell_marks()
                    continue
                pages = await self._read()
            except BrokerError:  # the subscriber says why, once; here there is only waiting
                await asyncio.sleep(random.uniform(*_RETRY_INTERVAL))
            else:
                self._write(pages)
                if self._is_ahead():
                    await asyncio.sleep(random.uniform(*_HEARD_INTERVAL))
        stream.join()

    def _is_ahead(self) -> bool:
        """Whether the client comes from a node that has heard more of a shard than this one."""
        at = self._stream.at
        return any(
            each.newest is not None and each.newest < at[each.place]
            for each in self._stream.inboxes
            if isinstance(each, Shard)
        )

    async def _read(self) -> list[tuple[Recipient, Page]]:
        """The next page of each inbox in which there is something to read."""
        hub, stream = self._hub, self._stream
        groups = stream.groups
        for each in stream.inboxes:
            await each.wait_subscribed()
        if stream.epoch is None:
            stream.epoch = hub.epoch
        if stream.is_elsewhere() and self._moved_to != hub.epoch:
            await self._move_over()
        asked = [
            (recipient, recipient.told_at(after))
            for recipient in stream.inboxes
            for after in recipient.to_read(stream.at[recipient.place], hub.settled, groups)
        ]
        pages = await self._pages(asked)
        if stream.groups is not groups:
            return []
        # Of two pages of one inbox the last is the one after this stream's own position.
        ours = {}
        for (recipient, after), (question, page) in zip(asked, pages, strict=True):
            hub.apply_page(recipient, question, page)
            ours[recipient] = page
            if isinstance(recipient, Shard):
                ours[recipient] = heard_part(page, after, recipient.newest)
        return list(ours.items())

    async def _pages(self, asked: Sequence[tuple[Recipient, int]]) -> list[tuple[Question, Page]]:
        questions = [recipient.question(after) for recipient, after in asked]
        answers = list(map(self._ask, asked, questions))
        pages = []
        for question, answer in zip(questions, answers, strict=True):
            try:
                pages.append((question, await answer))
            except InboxRefused:  # no reason to do without the events of the other inbox
                pages.append(unreadable(question, self._hub.settled))
        return pages

    def _ask(self, asked: tuple[Recipient, int], question: Question) -> asyncio.Future[Page]:
        recipient, after = asked
        if not isinstance(recipient, Shard):
            return self._inbox.read(recipient.id, after)
        names = sorted(each.name for each in self._stream.groups if each.shard is recipient)
        return self._inbox.read_groups(recipient.number, tuple(names), after, question.stored)

    async def _move_over(self) -> None:
        """Find out where the stream is in a data set that is another one than its position's.

        At the event that it had last, if that is there, for it was live when the data set was lost,
        and heard that from the new one; else at its beginning.
        """
        epoch, at = self._hub.epoch, self._stream.at
        asked = [(each, last_event(at[each.place])) for each in self._stream.inboxes]
        pages = await self._pages(asked)
        for (recipient, position), (_, page) in zip(asked, pages, strict=True):
            nowhere = BEGINNING if isinstance(recipient, Shard) else NOWHERE
            position = position if is_there(position, page) else nowhere
            self._stream.at = self._stream.at.moved(recipient.place, position)
        self._moved_to = epoch

    def _write(self, pages: list[tuple[Recipient, Page]]) -> None:
        """Write what was read, events of all inboxes in the order in which they were published."""
        hub, stream = self._hub, self._stream
        gaps = [page.gap for _, page in pages if page.gap is not None]
        gap = gaps[-1] if gaps else None
        if stream.is_elsewhere():
            if self._moved_to != hub.epoch:
                return  # it has been lost again meanwhile
            stream.epoch, self._moved_to = hub.epoch, None
            gap = GapReason.LOST  # whatever an inbox says of a position that was never in it
        for recipient, page in pages:
            if page.gap is not None:
                self._move(recipient, after_gap(page))
        end = common_end(page for _, page in pages)
        entries = merged(pages, end)
        losses = self._losses(pages, end, entries)
        frames = []
        for index in range(len(entries) + 1):
            if gap is not None or (losses and self._is_due(losses, index)):
                frames.append(self._tell(gap or GapReason.LOST, losses, index))
                gap = None
            if index < len(entries):
                recipient, entry = entries[index]
                self._move(recipient, entry.position)
                if not (entry.before and stream.passes_over(entry.before, entry.position)):
                    frames += self._frame(recipient, entry)
        for recipient, page in pages:
            if (position := reached(page, end, recipient.newest)) is not None:
                self._move(recipient, position)
        if frames:
            stream.write(b"".join(frames))

    def _losses(
        self,
        pages: list[tuple[Recipient, Page]],
        end: float,
        entries: list[tuple[Recipient, Entry]],
    ) -> dict[Recipient, range]:
        """Return for each inbox of which the client is to be told a loss before which of these
        entries, or at their end, that can be: after what was there before it, and before the rest.
        """
        losses = {}
        for recipient, page in pages:
            at, first, last = self._at(recipient), 0, None
            if at >= recipient.gone:
                continue
            for index, (whose, entry) in enumerate(entries):
                if whose is recipient:
                    at = entry.position
                    if at > recipient.gone:
                        last = index
                        break
                    first = index + 1
            else:
                position = reached(page, end, recipient.newest)
                at = at if position is None else position
                if at >= recipient.gone or is_known(at, recipient.newest, self._hub.settled):
                    last = len(entries)
            if last is not None:
                losses[recipient] = range(first, last + 1)
        return losses

    def _is_due(self, losses: dict[Recipient, range], index: int) -> bool:
        return any(
            places[-1] == index and self._at(recipient) < recipient.gone
            for recipient, places in losses.items()
        )

    def _tell(self, reason: GapReason, losses: dict[Recipient, range], index: int) -> bytes:
        """Return the frame of a gap, with a cursor that is beyond each loss that it is about."""
        for recipient, places in losses.items():
            if index in places:
                self._move(recipient, recipient.gone)
        self._hub.stats.gaps[reason] += 1
        return self._stream.control("gap", reason=reason)

    def _at(self, recipient: Recipient) -> int:
        return self._stream.at[recipient.place]

    def _frame(self, recipient: Recipient, entry: Entry) -> list[bytes]:
        """The frame of an entry, if there is something in it to be delivered."""
        hub, stream = self._hub, self._stream
        event = entry.shown(hub.clock())
        if event is None:
            hub.passed_over(entry)
            return []
        at = stream.cursor() + recipient.cursor_end
        stream.events += 1
        hub.wrote(recipient, entry)
        return [frame(event.data(recipient.id), event.type, at)]

    def _move(self, recipient: Recipient, position: int) -> None:
        """Who was told of a loss stays beyond it, or would be told again."""
        if position < recipient.gone <= self._at(recipient):
            position = recipient.gone
        self._stream.at = self._stream.at.moved(recipient.place, position)
