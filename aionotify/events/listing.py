"""Lists of the events in several inboxes: what is asked for, and one page of it.

A list is in the order of positions, whatever inbox an event is in, the newest or the oldest first.
A page goes on where another ended, and says where the next one begins. Pure: no I/O.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from aionotify.events.event import Event
from aionotify.events.event_id import EventId, mark_of
from aionotify.events.position import Place, bound_after, bound_before, place_to_go_on

DEFAULT_TYPE: Final = "message"  # HTML Standard section 9.2.6


class Query(NamedTuple):
    """What is asked for.

    Attributes:
        limit: the most events.
        newest_first: or else the oldest.
        after, before: by the mark of each inbox, the positions between which the events are.
        types: of the events; none for all.
    """

    limit: int
    newest_first: bool = True
    after: Mapping[str, int] = {}
    before: Mapping[str, int] = {}
    types: frozenset[str] = frozenset()


class Part(NamedTuple):
    """What was read in one inbox.

    Attributes:
        entries: in the order of the list; without an event where there is none to be shown.
        newest: the position of the last event in the inbox, or what is settled when it is empty.
        complete: whether that is all that is between the bounds.
    """

    entries: Sequence[tuple[int, Event | None]]
    newest: int
    complete: bool


class Listed(NamedTuple):
    """An event in a list."""

    recipient_id: str
    id: EventId
    event: Event


class ListPage(NamedTuple):
    """A page of a list.

    Attributes:
        events: in the order of the list.
        next: before or after which the next page is, or None when this is the last one.
        reached: by the mark of each inbox, where a stream goes on that has all that is listed up to
            here, in a list with the oldest first; where it goes on that has all there is, in one
            with the newest first.
    """

    events: list[Listed]
    next: EventId | None
    reached: dict[str, int]


class ListReader:
    """Makes a page of a list out of what is read in its inboxes, in one or more rounds.

    Args:
        recipient_ids: whose inboxes they are.
        max_bytes: of all events together, but for the last one.

    Attributes:
        after, before: by the mark of each inbox, between which positions it is to be read next.
    """

    def __init__(self, recipient_ids: Sequence[str], query: Query, max_bytes: int) -> None:
        self._marks = {id: mark_of(id) for id in recipient_ids}
        self._query = query
        self._bytes_left = max_bytes
        self.after, self.before = dict(query.after), dict(query.before)
        self._events: list[Listed] = []
        self._newest: dict[str, int] = {}
        self._next: Place | None = None
        self._is_full = False

    def add(self, parts: Mapping[str, Part]) -> bool:
        """Take what was read of each recipient's inbox; whether more is to be read."""
        sign = -1 if self._query.newest_first else 1
        if not self._newest:
            self._newest = {self._marks[id]: part.newest for id, part in parts.items()}
        entries = []
        ends = []
        for id, part in parts.items():
            places = [Place(position, self._marks[id]) for position, _ in part.entries]
            entries += [
                (place, id, event) for place, (_, event) in zip(places, part.entries, strict=True)
            ]
            if not part.complete:
                ends.append(places[-1])
        entries.sort(key=lambda each: each[0], reverse=self._query.newest_first)
        end = (max if self._query.newest_first else min)(ends) if ends else None
        for place, id, event in entries:
            if end is not None and (place < end if sign < 0 else place > end):
                break
            if event is None or not self._is_wanted(event):
                continue
            if len(self._events) == self._query.limit or self._bytes_left <= 0:
                self._is_full = True
                return False
            self._events.append(Listed(id, EventId(place.mark, place.position), event))
            self._bytes_left -= event.size
            self._next = place
        self._next = end
        if end is None:
            return False
        for mark in self._marks.values():
            if self._query.newest_first:
                self.before[mark] = bound_before(end, mark)
            else:
                self.after[mark] = bound_after(end, mark)
        return True

    def page(self) -> ListPage:
        """The page, of what was added."""
        place = self._next
        reached = dict(self._newest)
        if not self._query.newest_first and place is not None:
            reached = {mark: place_to_go_on(place, mark) for mark in self._marks.values()}
        next = None if place is None else EventId(place.mark, place.position)
        return ListPage(self._events, next, reached)

    def _is_wanted(self, event: Event) -> bool:
        types = self._query.types
        return not types or (event.type or DEFAULT_TYPE) in types
