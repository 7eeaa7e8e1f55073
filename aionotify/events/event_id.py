"""Event ids: which durable event it is, the same for its producer and for all who receive it.

An event id is the mark of the inbox that the event is in, and its position there::

    k3xq.006446a03f9c41      of one user's inbox, whose mark is the tag of their cursors
    all.006446a03fd2c8       of everyone's
    g2.006446a03fd2c8        of that of a group, by the shard in which it lies

The last part of the cursor that comes with an event is the mark of its inbox, so a client knows
the event's id without being told it.
"""

import re
from typing import Final, NamedTuple

from aionotify.events import cursor
from aionotify.events.event import EVERYONE
from aionotify.events.group import Ordered

_FORM: Final = re.compile(r"(all|g[1-4]|[a-z2-7]{4})\.([0-9a-f]{14})", re.ASCII)


class EventId(NamedTuple):
    """Of which inbox it is, by its mark, and where in it."""

    mark: str
    position: int

    def __str__(self) -> str:
        return f"{self.mark}.{self.position:014x}"


def mark_of(of: Ordered) -> str:
    """The mark of a recipient's inbox, or of a shard; two users have the same with odds of one to a
    million.
    """
    if not isinstance(of, str):
        return cursor.shard_mark(of).decode()
    mark = cursor.EVERYONE_MARK if of == EVERYONE else cursor.tag(of)
    return mark.decode()


def event_id(of: Ordered, position: int) -> EventId:
    """The id of the event at a position in a recipient's inbox, or in a shard."""
    return EventId(mark_of(of), position)


def parse(text: str) -> EventId | None:
    """The event id that `text` is, or None when it is none."""
    match = _FORM.fullmatch(text)
    return None if match is None else EventId(match[1], int(match[2], 16))


def id_at(text: str) -> EventId | None:
    """The id of the event that came with a cursor, or None when `text` is none."""
    place = cursor.position_at(text)
    return None if place is None else EventId(*place)
