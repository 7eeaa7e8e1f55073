"""What a user was told, as the client has it: the answers of ``GET /inbox``."""

from typing import Any

import msgspec


class ListedEvent(msgspec.Struct, frozen=True):
    """An event in the list.

    Attributes:
        event_id: which event it is, the same for its producer and for all clients.
        time: when it was published, in unix seconds.
        read: whether the user has read it, on whichever device.
        event: its type, ``message`` if it has none.
        data: the event, as a stream has it.
    """

    event_id: str
    time: float
    read: bool
    event: str
    data: dict[str, Any]


class HistoryPage(msgspec.Struct, frozen=True):
    """A page of the list.

    Attributes:
        events: in the order that was asked for.
        unread: how many events are not read, in the whole list; up to 1,000 of each inbox.
        next: for `before`, or for `after` with the oldest first, to get the next page; None on the
            last one.
        cursor: the `last_event_id` of a stream that goes on after the list; None on a page before
            something.
    """

    events: list[ListedEvent]
    unread: int
    next: str | None
    cursor: str | None


class Unread(msgspec.Struct, frozen=True):
    """What is answered to who marks."""

    unread: int
