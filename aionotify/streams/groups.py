"""Groups and their shards, as the hub keeps them: whose streams are in them, and what is known.

A shard is followed as a recipient is: all of its events are heard, in one order, whichever group
they are for. But a page that is read for one stream has the events of that stream's groups only. So
it says nothing to other streams, and what is known of the shard is what is heard.
"""

from collections.abc import Iterable
from typing import Final

from aionotify.events.cursor import place_of, shard_end
from aionotify.events.group import GroupId, mark
from aionotify.events.position import NOWHERE, is_known, latest
from aionotify.streams.recipient import HubStream, Recipient


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
