"""Reading inboxes: the bounded recent history of each recipient and each group."""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import AuthenticationError, ClusterCrossSlotError, ResponseError

from aionotify.batcher import Batcher
from aionotify.broker.connection.endpoint import translate
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.broker.unreadable import UnreadableInboxes
from aionotify.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    InboxRefused,
    InvalidEvent,
)
from aionotify.events.event import Event, decode
from aionotify.events.group import MARK_CHARS, GroupId, Ordered, each_mark, mark
from aionotify.events.page import Entry, GapReason, Page
from aionotify.events.position import NOWHERE, before, is_possible, latest
from aionotify.portions import portions
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats

_PAGE_EVENTS: Final = 100
_CALL_INBOXES: Final = 32  # inboxes in one call; Redis does nothing else meanwhile
_MAX_IN_FLIGHT: Final = 64  # inboxes
_BATCH_WINDOW: Final = 0.002  # seconds
_ENTRY: Final = re.compile(rb"([0-9]{1,16}) ([0-9]{1,16}) ")
_COPY: Final = re.compile(
    rb"(?:([0-9]{1,16}) ([0-9]{1,16})|- -) ((?:[A-Za-z0-9_-]{%d})+) " % MARK_CHARS
)
_POSITION: Final = re.compile(rb"0*([0-9]{1,16}) ")

EPHEMERAL_MARK: Final = b"- - "
"""What a live message has in the place of positions, if no inbox has its event."""


class _Question(NamedTuple):
    """What is asked of an inbox, or of a shard about some of its groups.

    Attributes:
        after: None: only how far it reaches.
        asked: positions of which is asked whether a shard knows them.
    """

    of: Ordered
    after: int | None = None
    groups: tuple[str, ...] = ()
    asked: tuple[int, ...] = ()


class Copy(NamedTuple):
    """The copy of an event that is for a group, before the event is decoded.

    Attributes:
        position, previous: 0 if no inbox has it.
        group: the group's mark.
        before: the marks of the receivers before it.
        start: where in the message the event begins.
    """

    position: int
    previous: int
    group: bytes
    before: frozenset[bytes]
    start: int


def parse_entry(entry: bytes, recipient_id: str, max_bytes: int) -> Entry:
    """An inbox entry, or a live message: ``<position> <previous> <event>``.

    An entry without an event is one of which the event was taken out.

    Raises:
        InvalidEvent: it is not, or its event is for somebody else: a producer of another make has
            stored something that breaks the contract.
    """
    match = _ENTRY.match(entry)
    position, previous = map(int, match.groups()) if match else (0, 0)
    if match is None or not is_possible(position, previous):
        raise InvalidEvent({"body": "is not <position> <previous> <event>"})
    event = entry[match.end() :]
    return Entry(position, previous, _decode_for(recipient_id, event, max_bytes) if event else None)


def parse_ephemeral(message: bytes, recipient_id: str, max_bytes: int) -> Event:
    """The event of a live message that begins with `EPHEMERAL_MARK`.

    Raises:
        InvalidEvent: it breaks the contract, or is for somebody else.
    """
    return _decode_for(recipient_id, message[len(EPHEMERAL_MARK) :], max_bytes)


def parse_copy(message: bytes) -> Copy:
    """An entry of a group's inbox, or a live message: ``<position> <previous> <marks> <event>``.

    The first mark is the group's own. Raises InvalidEvent.
    """
    match = _COPY.match(message)
    position, previous = map(int, match.group(1, 2)) if match and match[1] else (0, 0)
    if match is None or (match[1] and not is_possible(position, previous)):
        raise InvalidEvent({"body": "is not <position> <previous> <marks> <event>"})
    marks = match[3]
    before = frozenset(each_mark(marks[MARK_CHARS:]))
    return Copy(position, previous, marks[:MARK_CHARS], before, match.end())


def decode_copy(message: bytes, copy: Copy, max_bytes: int) -> Event:
    """The event of a message that `parse_copy` has parsed.

    Raises:
        InvalidEvent: it breaks the contract, or is for another group, or a user.
    """
    event = decode(message[copy.start :], max_bytes)
    if event.recipients or [mark(GroupId(each)) for each in event.groups] != [copy.group]:
        raise InvalidEvent({"group_id": "is not the group whose mark this copy has"})
    return event


def _decode_for(recipient_id: str, message: bytes, max_bytes: int) -> Event:
    event = decode(message, max_bytes)
    if event.recipients != (recipient_id,):
        raise InvalidEvent({"recipient_id": "is not the recipient whose inbox or channel this is"})
    return event


class Inbox:
    """All inboxes.

    Args:
        execute: carries out commands.
        data_set: whose inboxes they are, and for how long these keep events.
        max_bytes: the longest event.
        page_bytes: how much is read at a time, though never less than one event.

    Attributes:
        unreadable: the inboxes that Redis refused when they were asked for last.
    """

    def __init__(
        self,
        execute: Execute,
        keys: Keys,
        data_set: DataSet,
        *,
        max_bytes: int,
        page_bytes: int,
        stats: Stats,
    ) -> None:
        self._keys = keys
        self._data_set = data_set
        self._max_bytes = max_bytes
        self._page_bytes = page_bytes
        self.unreadable = UnreadableInboxes(keys)
        self._stats = stats
        self._script = Script(execute, "read.lua")
        self._call_inboxes = _CALL_INBOXES
        # Sending is what costs most, when thousands of streams open within a second.
        self._batcher: Batcher[_Question, Page] = Batcher(
            self._ask, name="aionotify inbox reads", at_most=_MAX_IN_FLIGHT, window=_BATCH_WINDOW
        )
        self._log = Sampled(logging.getLogger(__name__))

    def adopt(self, other: "Inbox") -> None:
        """Read as much at a time, and what is as long, as `other` does."""
        self._max_bytes, self._page_bytes = other._max_bytes, other._page_bytes

    async def newest(self, of: Sequence[Ordered]) -> list[Page | Exception]:
        """For each inbox or shard how far it reaches, as a page without entries, or why it is not
        read.
        """
        questions = list(map(_Question, of))
        return list(map(self._page, await self._replies(questions), questions))

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        """The page after a position.

        Questions travel together, and streams that ask the same (all of them, after a lost
        connection, about everyone's inbox) share one answer; but only until it has been asked,
        so that an answer is never older than the question.

        The future raises BrokerUnavailable or BrokerRefused when it cannot be read now, and
        InboxRefused when that is due to this inbox.
        """
        return self._batcher.submit(_Question(recipient_id, after))

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> asyncio.Future[Page]:
        """The same of some groups of a shard: one page with the events of all, in their order.

        Args:
            asked: positions of which is asked whether they were given out there.
        """
        return self._batcher.submit(_Question(shard, after, groups, asked))

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._batcher.close()
        await self._script.close()

    async def _ask(self, questions: list[_Question]) -> list[Page | Exception]:
        replies = await self._replies(questions)
        for reply in replies:
            if isinstance(reply, BrokerUnavailable):
                # Who has asked meanwhile would be kept as long again, one after the other.
                self._batcher.give_up(reply)
        return list(map(self._page, replies, questions))

    async def _replies(self, questions: Sequence[_Question]) -> list[Any]:
        """What the script says to each, or the error in its place."""
        data_set = self._data_set
        limits = _PAGE_EVENTS, self._page_bytes, data_set.retention
        times = data_set.floor, data_set.since, data_set.settled
        calls = []
        count = self._call_inboxes
        for some in portions(questions, count, lambda each: count if each.groups else 1, count):
            shard = some[0]
            words: tuple[str | int, ...]
            if shard.groups:
                names = map(self._keys.inbox, map(GroupId, shard.groups))
                keys = (self._keys.inbox(shard.of), *names)
                words = ("shard", shard.after or NOWHERE, *shard.asked)
            else:
                keys = tuple(self._keys.inbox(each.of) for each in some)
                words = tuple("" if each.after is None else each.after for each in some)
            calls.append((some, self._script.call(keys, (*limits, *times, *words))))
        replies: list[Any] = []
        for some, call in calls:
            try:
                reply = await call
                replies += [reply] if some[0].groups else reply
            except BrokerError as error:
                if len(some) > 1 and _is_answer(error):
                    # A cluster of one shard has all keys, and wants its questions one by one. Or
                    # there is no right to one of these (ACL), and that is no reason not to read
                    # the others.
                    if isinstance(error.__cause__, ClusterCrossSlotError):
                        self._call_inboxes = 1
                    for question in some:
                        replies += await self._replies([question])
                else:
                    replies += [error] * len(some)
            except Exception as error:  # noqa: BLE001 - it belongs to those who ask
                replies += [error] * len(some)
        return replies

    def _page(self, reply: Any, question: _Question) -> Page | Exception:
        if isinstance(reply, ResponseError):  # in the place of a page
            reply = translate(reply)
        if isinstance(reply, Exception):
            if not _is_answer(reply):
                return reply
            self._stats.inboxes_refused += 1
            self.unreadable.add(question.of, str(reply))
            return InboxRefused(str(reply))
        self.unreadable.discard(question.of)
        if isinstance(reply, bytes):
            return Page([], int(reply), int(reply), None)
        newest, complete, gap, *raw = reply
        denied = tuple(map(int, raw.pop(0).split())) if question.groups else ()
        upto = int(newest)
        entries = []
        for item in raw:
            try:
                entries.append(self._entry(item, question))
            except InvalidEvent as error:
                self._stats.events_invalid += 1
                self._log.warning(
                    "skipped an invalid event", {"from": "inbox", "reason": str(error)}
                )
        if not complete:
            upto = latest(map(_position, raw))
        return Page(entries, upto, int(newest), GapReason(gap.decode()) if gap else None, denied)

    def _entry(self, item: bytes, question: _Question) -> Entry:
        if isinstance(question.of, str):
            return parse_entry(item, question.of, self._max_bytes)
        if (match := _ENTRY.fullmatch(item)) is not None:  # its event was taken out
            position, previous = map(int, match.groups())
            if not is_possible(position, previous):
                raise InvalidEvent({"body": "is not <position> <previous> <marks> <event>"})
            return Entry(position, before(position), None)
        copy = parse_copy(item)
        event = decode_copy(item, copy, self._max_bytes)
        if event.groups[0] not in question.groups or not copy.position:
            raise InvalidEvent({"group_id": "is not the group whose inbox this is"})
        # In its shard there may be others between the two.
        return Entry(copy.position, before(copy.position), event, copy.group, copy.before)


def _is_answer(error: Exception) -> bool:
    """Whether Redis has let us in, has understood the question, and will not answer it."""
    cause = error.__cause__
    let_in = not isinstance(cause, AuthenticationError)
    at_leisure = not str(cause).startswith("BUSY")  # with a script that takes too long
    return isinstance(error, BrokerRefused) and let_in and at_leisure


def _position(entry: bytes) -> int:
    """Where an entry stands; 0 for what is none, which counts as part of the one before it."""
    match = _POSITION.match(entry)
    position = int(match[1]) if match else NOWHERE
    return position if is_possible(position) else NOWHERE
