"""A recipient, as the hub keeps it: one user's streams here, and how far its events are known.

So are groups. A shard of them is followed as a recipient is: all of its events are heard, in one
order, whichever group they are for. But a page that is read for one stream has the events of that
stream's groups only. It says nothing to other streams, and what is known of a shard is what is
heard.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from aionotify.events import cursor
from aionotify.events.cursor import Cursor, place_of, shard_end
from aionotify.events.event import EVERYONE
from aionotify.events.group import GroupId, Ordered, mark
from aionotify.events.position import (
    NOWHERE,
    Doubts,
    Question,
    doubt,
    is_event,
    is_known,
    latest,
    to_read,
)
from aionotify.streams.reasons import CloseReason


class StreamReport(msgspec.Struct):
    """What an operator is told of a stream.

    Attributes:
        since: when it was opened, in unix seconds.
        position: the cursor at which the client is, as it is told it.
        groups: those that its user is in.
        live: whether it is pushed events, and does not read them from its inbox.
        events: how many were written to it.
        buffered_bytes: bytes that wait in the process for the client to take them.
    """

    user_id: str
    since: float
    position: str
    groups: list[str]
    live: bool
    events: int
    buffered_bytes: int


class HubStream(Protocol):
    """What the hub asks of a stream."""

    recipient: "Recipient"
    live: bool
    groups: tuple["Group", ...]
    shards: tuple["Shard", ...]

    @property
    def inboxes(self) -> Sequence["Recipient"]:
        """Whose events it is for: everyone, its user, the shards of its groups."""

    def passes_over(self, before: frozenset[bytes], position: int) -> bool:
        """Whether it gets an event as one of these receivers, and not by the copy at `position`."""

    def push(self, chunk: bytes) -> bool:
        """Queue a pre-chunked frame for the next flush; False when the socket is full."""

    def tell_later(self, chunk: bytes) -> bool:
        """Keep a pre-chunked frame until the stream is live again; False when too much is kept."""

    def flush(self) -> None:
        """Write what is queued, in one system call."""

    def fall_behind(self, at: Cursor) -> None:
        """Go on from the inbox, after `at`."""

    def regroup(self, groups: frozenset[str]) -> None:
        """Have the events of these groups from now on."""

    def miss_notice(self) -> None:
        """Find out in another way what a notice said that could not be written."""

    def close(self, reason: CloseReason) -> None:
        """End, telling the client why if that is of use to it."""

    def buffered(self) -> int:
        """Bytes that wait in this process for the client to take them."""

    def report(self) -> StreamReport:
        """What there is to tell of it."""


class Recipient:
    """One user with at least one stream here, or everyone.

    Attributes:
        place: of its position in a cursor.
        entered: requests that hold one of the user's slots, attached or about to be.
        streams: the open ones.
        newest: position of the last durable event known, or None when that has to be read first;
            set by `set_newest`, for everything else that follows from it.
        subscribed: whether the live events are being heard.
        confirmations: how often they began to be.
        last_heard: the last position that was heard since then.
        acknowledged: the last position at which this node has published, since it hears, or 0.
        doubts: positions of events that were known to be stored, and may be gone since; see
            `position.doubt`.
        gone: the position from which on one knows of all losses that were found here, or 0.
        gone_after: that of the event right before it, if there is one, or 0.
        revocations: how often the streams were closed because the user may no longer listen.
        mark: the end of a cursor at `newest`.
    """

    __slots__ = (
        "_tag",
        "_waiters",
        "acknowledged",
        "confirmations",
        "doubts",
        "entered",
        "gone",
        "gone_after",
        "id",
        "last_heard",
        "mark",
        "newest",
        "place",
        "revocations",
        "streams",
        "subscribed",
    )

    def __init__(self, id: str, place: int) -> None:
        self.id = id
        self.place = place
        self.entered = 0
        self.streams: set[HubStream] = set()
        self.subscribed = False
        self.confirmations = 0
        self.last_heard = 0
        self.acknowledged = self.gone = self.gone_after = NOWHERE
        self.doubts: Doubts = {}
        self.revocations = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._tag = cursor.tag(id)
        self.set_newest(None)

    @property
    def of(self) -> Ordered:
        """What names it where it is asked for."""
        return self.id

    @property
    def cursor_end(self) -> bytes:
        """What a cursor ends with that comes with an event of it."""
        return cursor.EVERYONE_END if self.id == EVERYONE else b""

    def is_known(self, at: int, settled: int, groups: Iterable["Group"]) -> bool:
        """Whether a stream has all that is known, if it is `at`."""
        return is_known(at, self.newest, settled, self.gone)

    def to_read(self, at: int, settled: int, groups: Iterable["Group"]) -> tuple[int, ...]:
        """After which positions it is to be read for a stream that is `at`."""
        return to_read(at, self.newest, settled, self.gone)

    def set_newest(self, newest: int | None) -> None:
        """Set `newest`, and with it `mark`."""
        self.newest = newest
        self.mark = b"" if newest is None else cursor.own_part(newest, self._tag)

    def forget_newest(self) -> None:
        """Have it read what is there. If events that are known are gone then, that is a loss, also
        for streams that have not come to them yet.
        """
        doubt(self.doubts, self.confirmations, self.acknowledged, self.newest)
        self.acknowledged = NOWHERE
        self.set_newest(None)

    def own_part(self, position: int) -> bytes:
        return cursor.own_part(position, self._tag)

    def question(self, after: int | None) -> Question:
        """A question to be put to the inbox now; `Hub.apply_page` wants it with the answer."""
        return Question(after, self.newest, self.confirmations, self.stored())

    def lose(self, gone: int = NOWHERE, gone_after: int = NOWHERE) -> None:
        """Set `gone`: streams are told that come from before it."""
        self.gone = gone
        self.gone_after = gone_after if gone_after == gone - 1 else NOWHERE

    def told_at(self, at: int) -> int:
        """Return the event that a stream had last which is `at`, if it was told of a loss there.

        By that the inbox knows whether it has lost more since.
        """
        return self.gone_after or at if at == self.gone else at

    def stored(self) -> tuple[int, ...]:
        """Positions of events that are known to be stored, if they are not gone since."""
        known = (*self.doubts.values(), self.acknowledged, self.newest, self.gone_after)
        return tuple(position for position in known if is_event(position))

    async def wait_subscribed(self) -> None:
        """Wait until the live events are being heard."""
        while not self.subscribed:
            await self.subscription()

    def subscription(self) -> asyncio.Future[None]:
        """A future of its own for each who waits; done when the live events begin to be heard."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        waiter.add_done_callback(self._waiters.discard)
        return waiter

    def confirm(self) -> None:
        self.subscribed = True
        self.confirmations += 1
        self.last_heard = 0
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


class Shard(Recipient):
    """A shard in which a stream here has groups.

    Attributes:
        number: its number.
        groups: how many of its groups there are here.
        streams: those that are in one of them.
        since: from where on all events up to `newest` were heard.
        seen: an event that was read and not heard yet, or 0.
    """

    __slots__ = ("groups", "number", "seen", "since")

    def __init__(self, number: int) -> None:
        self.groups = 0
        self.number = number
        super().__init__(f"shard {number}", place_of(number))

    @property
    def of(self) -> int:
        """What names it where it is asked for."""
        return self.number

    @property
    def cursor_end(self) -> bytes:
        """What a cursor ends with that comes with an event of it."""
        return shard_end(self.number)

    def set_newest(self, newest: int | None) -> None:
        """Know `newest`, and nothing of what was heard before."""
        self.newest = newest
        self.since = newest or NOWHERE
        self.seen = NOWHERE

    def follow(self, position: int) -> None:
        """Take note of the event after `newest`."""
        self.newest = position

    def see(self, newest: int) -> None:
        """Take note of what was read: it is heard before long, or else was missed."""
        if newest & 1:  # nothing is in it
            self.newest = latest((self.newest or NOWHERE, newest))
        else:
            self.seen = latest((self.seen, newest))

    def has_missed(self, settled: int) -> bool:
        """Whether an event was not heard that is stored, though all up to `settled` was."""
        return self.newest is not None and self.newest < self.seen <= settled

    def is_known(self, at: int, settled: int, groups: Iterable["Group"]) -> bool:
        """Whether a stream in these groups has all of them that is known, if it is `at`."""
        newest = self.newest
        if newest is None or is_known(at, newest, settled, self.gone):
            return newest is not None
        return latest((self.since, self.gone)) <= at < newest and all(
            group.last <= at for group in groups if group.shard is self
        )

    def to_read(self, at: int, settled: int, groups: Iterable["Group"]) -> tuple[int, ...]:
        """After which position it is to be read for such a stream, if at all."""
        return () if self.is_known(at, settled, groups) else (at,)


class Group:
    """A group of which a stream here is a member, or is about to be.

    Attributes:
        mark: what stands for it in copies.
        entered: how many have entered it, attached or about to be.
        streams: those that are attached.
        last: the last event of it that was heard, or may have been before it was known here.
    """

    __slots__ = ("entered", "last", "mark", "name", "shard", "streams")

    def __init__(self, name: str, shard: Shard) -> None:
        self.name: Final = name
        self.mark: Final = mark(GroupId(name))
        self.shard: Final = shard
        self.entered = 0
        self.streams: set[HubStream] = set()
        self.last = shard.newest or NOWHERE


def shards_of(groups: Iterable[Group]) -> tuple[Shard, ...]:
    """The shards in which groups lie, in the order of their numbers."""
    return tuple(sorted({group.shard for group in groups}, key=lambda shard: shard.number))
