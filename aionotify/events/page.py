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
    """One durable event in an inbox. Nothing was ever stored between `previous` and `position`.

    That of a group also has the group's mark, and the marks of the receivers before it.
    """

    position: int
    previous: int
    event: Event
    group: bytes = b""
    before: frozenset[bytes] = frozenset()


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
