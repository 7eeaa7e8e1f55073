"""What a user has read, the same for all of the user's devices.

For each inbox of a user, by its mark, there is a position up to which all events are read, and some
more events that are. It is kept under a name of the user's own, also for everyone's events.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.events.event_id import EventId, mark_of

MAX_KEPT: Final = 1000  # events of an inbox beyond the position up to which all are read; 15 KB
MAX_COUNTED: Final = 1000  # unread events of an inbox
_COUNT_BYTES: Final = 1 << 20  # that are looked at in it; Redis does nothing else meanwhile
_NONE: Final = b"%014x " % 0


class Marks(NamedTuple):
    """What is read of one inbox.

    Attributes:
        upto: the position up to which all events are read, or 0.
        others: the positions of events that are read beyond that.
    """

    upto: int
    others: frozenset[int]

    def has(self, position: int) -> bool:
        """Whether the event at a position is read."""
        return position <= self.upto or position in self.others


class Marking(NamedTuple):
    """What is to be marked in one inbox.

    Attributes:
        upto: the position up to which all events are read, or None.
        others: positions of events that are read.
    """

    upto: int | None
    others: Sequence[int]


class ReadMarks:
    """What all users have read.

    Args:
        execute: carries out commands.
        data_set: for how long inboxes keep events.
    """

    def __init__(self, execute: Execute, keys: Keys, data_set: DataSet) -> None:
        self._execute = execute
        self._keys = keys
        self._data_set = data_set
        self._mark = Script(execute, "mark.lua")
        self._count = Script(execute, "unread.lua")

    async def of(self, user_id: str, recipient_ids: Sequence[str]) -> dict[str, bytes]:
        """What the user has read of these recipients' inboxes, as it is kept, by their marks.

        Raises:
            BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
        """
        marks = [mark_of(id) for id in recipient_ids]
        [found] = await replies(self._execute, ("HMGET", self._keys.read(user_id), *marks))
        return {mark: kept or _NONE for mark, kept in zip(marks, found, strict=True)}

    async def unread(self, recipient_ids: Sequence[str], kept: Mapping[str, bytes]) -> int:
        """How many events of these recipients' inboxes are not read; at most a thousand of each.

        Args:
            kept: what `of` has found.
        """
        limits = MAX_COUNTED, _COUNT_BYTES, self._data_set.clock()
        counts = [
            self._count.call((self._keys.inbox(id),), (*limits, kept[mark_of(id)]))
            for id in recipient_ids
        ]
        return sum([int(await each) for each in counts])

    async def mark(self, user_id: str, newest: int, markings: Mapping[str, Marking]) -> bool:
        """Mark events as read, and tell the user's streams; what is read stays so.

        Args:
            newest: the newest position that is known here of an inbox that is not the user's own.
            markings: by the marks of inboxes.

        Returns:
            Whether all is marked; False, and nothing is, if one of the positions is in the future.
        """
        args: list[Any] = [self._keys.live(user_id), "PUBLISH", self._data_set.retention]
        args += self._data_set.floor, MAX_KEPT, newest
        for mark, (upto, others) in markings.items():
            positions = b"".join(b"%014x " % position for position in others)
            args += mark, b"" if upto is None else b"%014x" % upto, positions
        keys = self._keys.read(user_id), self._keys.inbox(user_id)
        return bool(await self._mark.call(keys, tuple(args)))

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._mark.close()
        await self._count.close()


def parse(kept: bytes) -> Marks:
    """What is read of an inbox, out of how that is kept; what is no position counts for nothing."""
    try:
        upto, *others = [int(position, 16) for position in kept.split()]
    except ValueError:
        return Marks(0, frozenset())
    return Marks(upto, frozenset(others))


def members(mark: str, marks: Marks) -> dict[str, object]:
    """What streams are told of what is read of an inbox: the data of ``aionotify.read``."""
    ids = [str(EventId(mark, position)) for position in sorted(marks.others)]
    return {"reason": "marked", "upto": [str(EventId(mark, marks.upto))], "ids": ids}
