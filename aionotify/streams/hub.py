"""The hub: who is connected here, and the dispatch of an event to their streams.

Dispatch is plain functions from top to bottom. Nothing in it awaits a client, a database or a
lock, so a slow reader costs nobody else anything. The hub knows neither Redis nor tokens: it is
told of events and of subscriptions through the methods below, and says through `Interest` whose
events it wants.

Each recipient has a position, `newest`: the last durable event that this node knows of. A live
stream is exactly there. What an event or a page is to that position is judged by
`aionotify.events.position`; here it is acted upon. Where an event may not have been heard, the
streams concerned go back to reading their inbox.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from aionotify.errors import NodeFull, TooManyStreams
from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.event import EVERYONE, Event
from aionotify.events.frame import RESERVED_PREFIX, framed_chunk
from aionotify.events.group import GroupId, Ordered, mark, shard_of
from aionotify.events.page import Entry, Page
from aionotify.events.position import (
    LAST,
    NOWHERE,
    Question,
    Verdict,
    after_loss,
    aged,
    doubt,
    is_found,
    is_gone,
    judge_heard,
    judge_page,
    judge_read,
    latest,
)
from aionotify.streams.reasons import CloseReason, ResyncReason
from aionotify.streams.recipient import Group, HubStream, Recipient, Shard
from aionotify.telemetry.stats import Stats

_EVERYONE, _OWN = range(2)  # places in a cursor
_OWN_PART = cursor.own_part(0, b"\0\0\0\0")  # stands for each user's own in a broadcast


class Interest(Protocol):
    """Whose durable events this node wants to hear."""

    def want(self, of: Ordered) -> None: ...
    def drop(self, of: Ordered) -> None: ...


_Around = dict[Sequence[Shard], tuple[bytes, bytes]]


class Hub:
    """All streams of one node.

    Args:
        interest: told of the first and the last stream of each user, and in each shard.
        max_streams: streams in all; 0 = no limit.
        max_streams_per_user: streams of one user; 0 = no limit.
        clock: says what time it is in Redis, in microseconds; 0 while that is not known.
        written: told of each durable event of a user that was written to a stream: whose, its
            position, and the event.

    Attributes:
        everyone: the recipient that all streams are for.
        draining: whether the node is about to leave. It may still take streams.
        closed: whether it takes none any more.
        epoch: the name of the data set that positions are of, or None while that is not known.
        settled: up to where everything is stored and was heard by whoever is live, or 0.
        aged: before which a position is too old for a client to keep.
        holds: whether more is about to be written, and streams are to queue it.
    """

    def __init__(
        self,
        interest: Interest,
        *,
        stats: Stats | None = None,
        max_streams: int = 0,
        max_streams_per_user: int = 0,
        clock: Callable[[], int] = lambda: NOWHERE,
        written: Callable[[str, int, Event], None] | None = None,
    ) -> None:
        self.stats = stats or Stats()
        self.clock = clock
        self._written = written
        self.everyone = Recipient(EVERYONE, _EVERYONE)
        self.draining = self.closed = self.holds = False
        self.epoch: str | None = None
        self.settled = self.aged = self._refreshed = 0
        self._interest = interest
        self._max_streams = max_streams
        self._max_streams_per_user = max_streams_per_user
        self._recipients: dict[Ordered, Recipient] = {}
        self._shards: dict[Ordered, Shard] = {}
        self._groups: dict[str, Group] = {}
        self._by_mark: dict[bytes, Group] = {}
        self.has_group = self._by_mark.__contains__
        self._entered = 0
        self._unflushed: list[HubStream] = []
        self._cursor_head: tuple[tuple[str | None, int], bytes] = (None, -1), b""
        self._emptied: asyncio.Future[None] | None = None

    def adopt(self, other: "Hub") -> None:
        """Take as many streams as `other` does. Those that are open stay, be they more."""
        self._max_streams = other._max_streams
        self._max_streams_per_user = other._max_streams_per_user

    # --- streams come and go ------------------------------------------------------------------

    def __len__(self) -> int:
        return self._entered

    def __contains__(self, user_id: object) -> bool:
        return user_id in self._recipients

    @property
    def users(self) -> int:
        """How many have a stream here."""
        return len(self._recipients)

    def recipients(self) -> list[Recipient]:
        """All who have a stream here."""
        return list(self._recipients.values())

    def streams(self) -> list[HubStream]:
        """All open streams."""
        everybody = (recipient.streams for recipient in self._recipients.values())
        return list(itertools.chain.from_iterable(everybody))

    def streams_of(self, user_id: str) -> list[HubStream]:
        """The open streams of a user."""
        recipient = self._recipients.get(user_id)
        return [] if recipient is None else list(recipient.streams)

    def check_room(self) -> None:
        """Raise NodeFull when no stream can be taken, whoever it is for."""
        if self._max_streams and self._entered >= self._max_streams:
            raise NodeFull("this node has as many streams as it may", retry_after=5)

    def enter(self, user_id: str) -> Recipient:
        """Take one of the user's slots, before anything is answered.

        Raises:
            NodeFull: the node has no slot left.
            TooManyStreams: the user has none left.
        """
        self.check_room()
        recipient = self._recipients.get(user_id)
        if recipient is None:
            recipient = self._recipients[user_id] = Recipient(user_id, _OWN)
            self._interest.want(user_id)
        elif self._max_streams_per_user and recipient.entered >= self._max_streams_per_user:
            raise TooManyStreams(
                f"a user may have no more than {self._max_streams_per_user} open", retry_after=30
            )
        recipient.entered += 1
        self._entered += 1
        return recipient

    def leave(self, recipient: Recipient) -> None:
        """Give the slot back."""
        recipient.entered -= 1
        self._entered -= 1
        if not recipient.entered:
            del self._recipients[recipient.id]
            self._interest.drop(recipient.id)
        if not self._entered and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    async def empty(self) -> None:
        """Wait until nobody has a slot."""
        while self._entered:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def enter_groups(self, names: Iterable[str]) -> tuple[Group, ...]:
        """Hear the events of groups, for a stream that is in them or about to be."""
        groups = []
        for name in names:
            group = self._groups.get(name)
            if group is None:
                number = shard_of(name)
                shard = self._shards.get(number)
                if shard is None:
                    shard = self._shards[number] = Shard(number)
                    self._interest.want(number)
                group = self._groups[name] = Group(name, shard)
                self._by_mark[group.mark] = group
                shard.groups += 1
            group.entered += 1
            groups.append(group)
        return tuple(groups)

    def leave_groups(self, groups: Iterable[Group]) -> None:
        """Hear them no longer for one stream."""
        for group in groups:
            group.entered -= 1
            if group.entered:
                continue
            del self._groups[group.name], self._by_mark[group.mark]
            group.shard.groups -= 1
            if not group.shard.groups:
                del self._shards[group.shard.number]
                self._interest.drop(group.shard.number)

    def attach(self, stream: HubStream) -> None:
        """From here on the stream is dispatched to."""
        stream.recipient.streams.add(stream)
        for group in stream.groups:
            group.streams.add(stream)
        for shard in stream.shards:
            shard.streams.add(stream)

    def detach(self, stream: HubStream) -> None:
        stream.recipient.streams.discard(stream)
        for group in stream.groups:
            group.streams.discard(stream)
        for shard in stream.shards:
            shard.streams.discard(stream)

    def position(self, inboxes: Sequence[Recipient]) -> Cursor | None:
        """Where a live stream is that reads these, or None while that is not known.

        In an inbox in which there was nothing for long that is what is settled.
        """
        if any(each.newest is None for each in inboxes):
            return None
        return self._at(inboxes)

    def _at(self, inboxes: Sequence[Recipient]) -> Cursor:
        at = [NOWHERE] * cursor.PLACES
        for each in inboxes:
            at[each.place] = self.shown(each)
        return Cursor(*at)

    def revoked(self, user_id: str) -> None:
        """End all streams of a user who may no longer listen."""
        recipient = self._recipients.get(user_id)
        if recipient is None:
            return
        recipient.revocations += 1
        for stream in list(recipient.streams):
            stream.close(CloseReason.REVOKED)

    # --- what is heard of subscriptions -------------------------------------------------------

    def confirmed(self, of: Ordered) -> None:
        """The live events of a recipient are heard from now on; what came before is not known."""
        recipient = self._find(of)
        if recipient is not None:
            self._resync(recipient, ResyncReason.RESUBSCRIBED)
            recipient.confirm()

    def lost(self) -> None:
        """No live event is heard any more, of anybody."""
        for recipient in [*self._recipients.values(), *self._shards.values()]:
            self._resync(recipient, ResyncReason.LOST)
            recipient.subscribed = False
        self.everyone.subscribed = False
        self.everyone.forget_newest()

    def _resync(self, recipient: Recipient, reason: ResyncReason) -> None:
        concerned = self.streams() if recipient is self.everyone else list(recipient.streams)
        for stream in concerned:
            if stream.live and (at := self.position(stream.inboxes)) is not None:
                self.stats.resynced[reason] += 1
                stream.fall_behind(at)
        recipient.forget_newest()

    # --- what is heard of the data set ------------------------------------------------------------

    def know(self, epoch: str | None, settled: int, retention: float) -> None:
        """Take note of which data set Redis has, and of what is settled there.

        What was given out for another one says nothing of this one. All streams find out, each for
        itself, when they read it.
        """
        self.settled, self.aged = settled, aged(settled, retention)
        before, self.epoch = self.epoch, epoch or self.epoch
        if before not in (None, self.epoch):
            for recipient in (
                *self._recipients.values(),
                *self._shards.values(),
                self.everyone,
            ):
                self._resync(recipient, ResyncReason.OTHER_DATA)
                recipient.doubts.clear()
                recipient.lose()
            return
        for shard in self._shards.values():
            if shard.has_missed(settled):
                self._missed(shard, shard.seen)
        if self.aged > self._refreshed:
            self._refreshed = (self.aged + settled) // 2
            for recipient in self._recipients.values():
                self._set(recipient, recipient.newest)

    def _set(self, recipient: Recipient, newest: int | None) -> None:
        recipient.set_newest(newest)
        if newest is not None and (newest < self.aged or newest < recipient.gone):
            recipient.mark = recipient.own_part(self.shown(recipient))

    def shown(self, recipient: Recipient) -> int:
        """Where a live stream is in an inbox, as its client is told it."""
        newest = recipient.newest or NOWHERE
        if newest >= self.aged and newest >= recipient.gone:
            return newest
        return latest((newest if newest >= self.aged else self.settled, recipient.gone))

    # --- dispatch -----------------------------------------------------------------------------

    def ephemeral(self, event: Event) -> None:
        """Write an event that nobody keeps to whoever is there and can take it."""
        self.stats.events_ephemeral += 1
        shared = framed_chunk(event.data(event.receivers[0]), event.type) if event.shared() else b""
        for recipient_id in event.recipients:
            if recipient_id == EVERYONE:
                for recipient in self._recipients.values():
                    self._offer(recipient, shared)
            elif (found := self._recipients.get(recipient_id)) is not None:
                self._offer(found, shared or framed_chunk(event.data(recipient_id), event.type))
        if event.groups and self._groups:
            before = set(map(mark, event.recipients))
            for name in event.groups:
                group = mark(GroupId(name))
                self.ephemeral_to_group(group, frozenset(before), event)
                before.add(group)

    def ephemeral_to_group(self, group: bytes, before: frozenset[bytes], event: Event) -> None:
        """Write the copy of such an event that is for a group, given its mark.

        Args:
            before: the marks of the receivers that come before it.
        """
        found = self._by_mark.get(group)
        if found is None or not found.streams:
            return
        data = framed_chunk(event.data(GroupId(found.name)), event.type)
        self._push(
            data,
            [each for each in found.streams if not (before and each.passes_over(before, LAST))],
        )

    def _offer(self, recipient: Recipient, data: bytes) -> None:
        self._push(data, recipient.streams)

    def _push(self, data: bytes, streams: Collection[HubStream]) -> None:
        delivered = 0
        for stream in streams:
            delivered += stream.push(data)
        self.stats.delivered_live += delivered
        self.stats.dropped_full += len(streams) - delivered

    def notice(self, recipient_id: str, name: str, data: bytes) -> None:
        """Write a notice to all streams of a recipient.

        What it is about may be on its way to a stream that is not live, or cannot take anything
        now. Such a one is told when it is live, so that it is told after that.

        Args:
            name: one of `aionotify.events.notice.NAMES`.
            data: a JSON object on one line.
        """
        self.stats.notices += 1
        recipient = self._find(recipient_id)
        if recipient is None:
            return
        frame = framed_chunk(data, RESERVED_PREFIX + name)
        streams = self.streams() if recipient is self.everyone else recipient.streams
        for stream in streams:
            if stream.live and stream.push(frame):
                continue
            if not stream.tell_later(frame):
                self.stats.notices_dropped += 1
                stream.miss_notice()
            elif stream.live:
                self.stats.fell_behind += 1
                stream.fall_behind(self._at(stream.inboxes))

    def durable_to_group(self, shard: int, entry: Entry) -> None:
        """Write an event of a shard to the streams that are in its group."""
        group = self._by_mark.get(entry.group)
        if group is not None:
            group.last = latest((group.last, entry.position))
        self.durable(shard, entry)

    def durable(self, of: Ordered, entry: Entry) -> None:
        """Write an event to the streams that are live, if it follows on from what they have."""
        self.stats.events_durable += 1
        recipient = self._find(of)
        if recipient is None:
            return
        position = entry.position
        last_heard, recipient.last_heard = recipient.last_heard, position
        verdict = judge_heard(recipient.newest, last_heard, position, entry.previous)
        if verdict is Verdict.NEXT:
            self._deliver(recipient, entry)
        elif verdict is Verdict.REPEATED:
            self.stats.events_repeated += 1
        elif verdict is Verdict.GAP:
            self._missed(recipient, position)
        elif verdict is Verdict.RESYNC:
            self._resync(recipient, ResyncReason.MISSED)
        else:
            self._set(recipient, position)  # somebody is about to read: now he knows how far

    def acknowledged(self, of: Ordered, position: int) -> None:
        """An event was stored there; if it is gone when it is heard no more, that is a loss."""
        recipient = self._find(of)
        if recipient is None:
            return
        if recipient.subscribed:
            recipient.acknowledged = latest((recipient.acknowledged, position))
        else:
            doubt(recipient.doubts, recipient.confirmations, position, between=True)

    def apply_page(self, recipient: Recipient, question: Question, page: Page) -> None:
        """Take note of what has just been read in `recipient`'s inbox.

        A page may be ahead of pub/sub. Its events then go the way of live ones, to the streams
        that are live, and are recognised as repeated when they are heard.
        """
        self._clear_up(recipient, question, page)
        verdict = judge_page(recipient.newest, recipient.confirmations, question, page)
        if isinstance(recipient, Shard) and question.confirmations == recipient.confirmations:
            recipient.see(page.newest)
        if verdict is Verdict.NEXT:
            if not isinstance(recipient, Shard):
                self._apply(recipient, page)
        elif verdict is Verdict.RESYNC:
            self._resync(recipient, ResyncReason.MISSED)
            self._set(recipient, page.newest)
        elif verdict is Verdict.START:
            self._set(recipient, page.newest)
        else:  # whoever has asked is given it, and goes on from there
            asked = question.confirmations
            is_late = asked != recipient.confirmations
            doubt(recipient.doubts, asked, page.newest, between=is_late)

    def _clear_up(self, recipient: Recipient, question: Question, page: Page) -> None:
        """See by a page which events are gone that were known to be stored.

        Who is live goes on from where it is, and is told when it passes the loss.
        """
        gone = {each for each in recipient.stored() if is_gone(each, question, page)}
        if gone:
            settled = NOWHERE if page.newest >= self.aged else self.settled
            after = after_loss(latest(gone), page, settled)
            if recipient.gone_after in gone:
                recipient.lose()
            if after > recipient.gone:
                self._resync(recipient, ResyncReason.MISSED)
                recipient.lose(after, page.newest)
        for known, each in list(recipient.doubts.items()):
            if each in gone or is_found(each, recipient.confirmations, question, page):
                del recipient.doubts[known]
        if recipient.acknowledged in gone:
            recipient.acknowledged = NOWHERE

    def _apply(self, recipient: Recipient, page: Page) -> None:
        self.hold()
        try:
            for entry in page.entries:
                position, newest = entry.position, recipient.newest or NOWHERE
                verdict = judge_read(newest, position, entry.previous)
                if verdict is Verdict.NEXT:
                    self._deliver(recipient, entry)
                elif verdict is Verdict.GAP:
                    self._missed(recipient, position)
        finally:
            self.release()
        self._set(recipient, latest((recipient.newest or NOWHERE, page.upto)))

    def _missed(self, recipient: Recipient, position: int) -> None:
        self.stats.missed += 1
        self._resync(recipient, ResyncReason.MISSED)
        self._set(recipient, position)

    def _deliver(self, recipient: Recipient, entry: Entry) -> None:
        event = entry.event
        if event is None or (event.options is not None and entry.shown(self.clock()) is None):
            self._follow(recipient, entry.position)  # known, and nothing to be written
            self.passed_over(entry)
        elif recipient is self.everyone:
            self._to_everyone(entry.position, event)
        elif isinstance(recipient, Shard):
            self._to_group(recipient, entry, event)
        else:
            self._to_one(recipient, entry.position, event)

    def _follow(self, recipient: Recipient, position: int) -> None:
        if isinstance(recipient, Shard):
            recipient.follow(position)
        else:
            self._set(recipient, position)

    def passed_over(self, entry: Entry) -> None:
        """Take note of an entry that is not written to a stream, or to all that are live."""
        if entry.event is not None:
            self.stats.dropped_expired += 1

    def _to_one(self, recipient: Recipient, position: int, event: Event) -> None:
        before = self.shown(recipient)
        self._set(recipient, position)
        data, shards = b"", None
        delivered = self.stats.delivered_live
        for stream in recipient.streams:
            if not stream.live:
                continue
            if not data:
                self._measure(position)
            if stream.shards is not shards:
                shards = stream.shards
                data = self._encode(event, recipient, shards)
            if stream.push(data):
                self.stats.delivered_live += 1
            else:
                self._full(stream, recipient, before)
        if self._written is not None and self.stats.delivered_live > delivered:
            self._written(recipient.id, position, event)

    def wrote(self, recipient: Recipient, entry: Entry) -> None:
        """A stream was given an event that it has read in the inbox."""
        self.stats.delivered_catch_up += 1
        if self._written is not None and recipient is not self.everyone and entry.event is not None:
            self._written(recipient.id, entry.position, entry.event)

    def _to_everyone(self, position: int, event: Event) -> None:
        before = self.shown(self.everyone)
        self._set(self.everyone, position)
        if self._recipients:
            self._measure(position)
        head, tail = self._encode_around(self.everyone, event, ())
        others: _Around = {}
        for recipient in self._recipients.values():
            data = head + recipient.mark + tail
            for stream in recipient.streams:
                if not stream.live:
                    continue
                if stream.shards:
                    taken = stream.push(self._around(others, self.everyone, event, stream))
                else:
                    taken = stream.push(data)
                if taken:
                    self.stats.delivered_live += 1
                else:
                    self._full(stream, self.everyone, before)

    def _to_group(self, shard: Shard, entry: Entry, event: Event) -> None:
        before = self.shown(shard)
        shard.follow(entry.position)
        group = self._by_mark.get(entry.group)
        if group is None or not group.streams:
            return
        self._measure(entry.position)
        others: _Around = {}
        for stream in group.streams:
            if not stream.live:
                continue
            if entry.before and stream.passes_over(entry.before, entry.position):
                continue
            if stream.push(self._around(others, shard, event, stream)):
                self.stats.delivered_live += 1
            else:
                self._full(stream, shard, before)

    def _measure(self, position: int) -> None:
        # Redis' clock against ours: where that is ahead, an event takes no time rather than less.
        self.stats.latency.observe(max(0.0, time.time() - position / 1_000_000))

    def _full(self, stream: HubStream, recipient: Recipient, before: int) -> None:
        """Have a stream go on before the event of `recipient` that it could not take."""
        self.stats.fell_behind += 1
        stream.fall_behind(self._at(stream.inboxes).moved(recipient.place, before))

    def _encode(self, event: Event, recipient: Recipient, shards: Sequence[Shard]) -> bytes:
        at = self._everyone_part(shards) + recipient.mark
        return framed_chunk(event.data(recipient.id), event.type, at)

    def _encode_around(
        self, recipient: Recipient, event: Event, shards: Sequence[Shard]
    ) -> tuple[bytes, bytes]:
        """The frame of an event for streams of many users, before and after each one's own part."""
        at = self._everyone_part(shards) + _OWN_PART + recipient.cursor_end
        data = event.data(event.receivers[0])
        head, tail = framed_chunk(data, event.type, at).split(_OWN_PART, 1)
        return head, tail

    def _around(
        self, made: _Around, recipient: Recipient, event: Event, stream: HubStream
    ) -> bytes:
        """Such a frame for a stream with groups; of those in the same shards it is made once."""
        parts = made.get(stream.shards)
        if parts is None:
            parts = made[stream.shards] = self._encode_around(recipient, event, stream.shards)
        return parts[0] + stream.recipient.mark + parts[1]

    def _everyone_part(self, shards: Sequence[Shard]) -> bytes:
        """The beginning of every cursor; it changes seldom beside what it is needed for."""
        if shards:
            at = self._at(shards)
            return cursor.everyone_part(self.epoch, self.shown(self.everyone), at[2:])
        made_of = self.epoch, self.shown(self.everyone)
        if made_of != self._cursor_head[0]:
            self._cursor_head = made_of, cursor.everyone_part(*made_of)
        return self._cursor_head[1]

    # --- writing ------------------------------------------------------------------------------

    def hold(self) -> None:
        """Have streams queue what they get until `release`.

        One write of ten frames costs about an eighth of ten writes, and a subscriber that has
        fallen behind hands over many messages at once, so this is where load sheds itself.
        """
        self.holds = True

    def unflushed(self, stream: HubStream) -> None:
        """A stream has something queued."""
        self._unflushed.append(stream)

    def release(self) -> None:
        """Have everything written that is queued."""
        self.holds = False
        streams, self._unflushed = self._unflushed, []
        for stream in streams:
            stream.flush()

    # --- positions ----------------------------------------------------------------------------

    def _find(self, of: Ordered) -> Recipient | None:
        if of == EVERYONE:
            return self.everyone
        return self._recipients.get(of) or self._shards.get(of)
