"""What is read in an inbox: its entries, a page at a time."""

from enum import StrEnum
from typing import NamedTuple

from aionotify.events.event import Event


class GapReason(StrEnum):
    """Why events after a position are gone; the words of read.lua and of `aionotify.gap`."""

    TRIMMED = "trimmed"
    LOST = "lost"
    UNKNOWN = "unknown"


class Entry(NamedTuple):
    """One place in an inbox. Nothing was ever stored between `previous` and `position`.

    Attributes:
        event: the durable event there, or None if it was taken out again: a newer one has taken
            its place, or it was recalled. Its position stays, so this is no gap. Of a shard also
            if it is for a group that nobody here is in.
        group: the mark of the group that it is for, if it is for one.
        before: the marks of the receivers before that.
    """

    position: int
    previous: int
    event: Event | None
    group: bytes = b""
    before: frozenset[bytes] = frozenset()

    def shown(self, clock: int) -> Event | None:
        """The event that is to be delivered, if there is one.

        Args:
            clock: what time it is in Redis, in microseconds; 0 if that is not known.
        """
        event = self.event
        if event is None or event.options is None or event.options.expires_in is None:
            return event
        return None if clock - self.position >= event.options.expires_in * 1_000_000 else event


class Page(NamedTuple):
    """What a read of an inbox after some position gives.

    Attributes:
        entries: the next events, in order; possibly none.
        upto: how far this page reaches, past whatever in it was no event.
        newest: the position of the last event in the inbox, or an odd one when it is empty.
        gap: why events after the position asked for are gone, or None when none are.
        denied: of the positions that it was asked about, those that are not there.
    """

    entries: list[Entry]
    upto: int
    newest: int
    gap: GapReason | None
    denied: tuple[int, ...] = ()
