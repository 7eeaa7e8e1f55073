"""Lists: pages of several inboxes in one order, and where a stream goes on after them."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.event import Event, decode
from aionotify.events.event_id import EventId, mark_of
from aionotify.events.listing import ListPage, ListReader, Part, Query
from aionotify.events.position import Place, bound_after, bound_before

USERS = ("*", "alice", "bob")
SETTLED = 1_000_001  # beyond all events

Inboxes = Mapping[str, Mapping[int, Event | None]]


def event(recipient: str, type: str) -> Event:
    return decode(json.dumps({"recipient_id": recipient, "event": type}).encode())


def read(
    inbox: Mapping[int, Event | None], query: Query, after: int, before: int, most: int
) -> Part:
    """What history.lua does, in a few lines."""
    between = sorted((each for each in inbox if after < each < before), reverse=query.newest_first)
    entries = [(position, inbox[position]) for position in between[:most]]
    return Part(entries, max(inbox, default=SETTLED), len(entries) == len(between))


def page(inboxes: Inboxes, query: Query, most: int, rounds: int = 3) -> ListPage:
    """A page, read in portions of `most` events."""
    reader = ListReader(list(inboxes), query, 10**6)
    for _ in range(rounds):
        parts = {}
        for id, inbox in inboxes.items():
            mark = mark_of(id)
            after, before = reader.after.get(mark, -1), reader.before.get(mark, 10**9)
            parts[id] = read(inbox, query, after, before, most)
        if not reader.add(parts):
            break
    return reader.page()


def ordered(inboxes: Inboxes, types: frozenset[str] = frozenset()) -> list[EventId]:
    places = [
        Place(position, mark_of(id))
        for id, inbox in inboxes.items()
        for position, found in inbox.items()
        if found is not None and (not types or found.type in types)
    ]
    return [EventId(place.mark, place.position) for place in sorted(places)]


@st.composite
def worlds(draw: st.DrawFn) -> Inboxes:
    """Some inboxes; events of two may have the same position, and some were taken out."""
    positions = st.sets(st.integers(1, 12).map(lambda n: 2 * n))
    kinds = st.sampled_from(["a", "b", None])
    return {
        id: {
            at: None if (kind := draw(kinds)) is None else event(id, kind)
            for at in sorted(draw(positions))
        }
        for id in USERS[: draw(st.integers(1, 3))]
    }


@given(
    worlds(),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from([frozenset(), frozenset("a")]),
)
def test_the_pages_of_a_list_have_each_event_once_and_in_order(
    inboxes: Inboxes, newest_first: bool, limit: int, most: int, types: frozenset[str]
) -> None:
    found: list[EventId] = []
    query = Query(limit, newest_first, types=types)
    for _ in range(100):
        got = page(inboxes, query, most)
        assert len(got.events) <= limit
        found += [each.id for each in got.events]
        if got.next is None:
            break
        place = Place(got.next.position, got.next.mark)
        bound = bound_before if newest_first else bound_after
        bounds = {mark_of(id): bound(place, mark_of(id)) for id in inboxes}
        query = query._replace(before=bounds) if newest_first else query._replace(after=bounds)
    wanted = ordered(inboxes, types)
    assert found == (wanted[::-1] if newest_first else wanted)


@given(worlds(), st.booleans(), st.integers(1, 30), st.integers(1, 4), st.data())
def test_who_lists_and_then_streams_gets_each_event_once(
    inboxes: Inboxes, newest_first: bool, limit: int, most: int, data: st.DataObject
) -> None:
    """With all that is published while it lists and after it, by whichever inbox is read first."""
    seen = {id: dict(inbox) for id, inbox in inboxes.items()}
    got = page(seen, Query(limit, newest_first), most)
    later = {id: data.draw(st.integers(0, 3)) for id in inboxes}
    now = {id: {**inboxes[id]} for id in inboxes}
    for id, count in later.items():
        for n in range(count):
            now[id][100 + 2 * n] = event(id, "a")
    streamed = [
        EventId(mark_of(id), position)
        for id, inbox in now.items()
        for position, found in inbox.items()
        if found is not None and position > min(got.reached[mark_of(id)], 99)
    ]
    listed = [each.id for each in got.events]
    assert len(set(listed + streamed)) == len(listed) + len(streamed)
    missed = set(ordered(now)) - set(listed) - set(streamed)
    if newest_first and got.next is not None:  # they are on the pages that follow
        assert all((each.position, each.mark) < got.next[::-1] for each in missed)
    else:
        assert not missed


@given(worlds(), st.integers(1, 5), st.integers(1, 4))
def test_a_stream_goes_on_at_a_place_that_its_inbox_knows(
    inboxes: Inboxes, limit: int, most: int
) -> None:
    """At an event of that inbox, or at a time: an event of another inbox would count as lost."""
    got = page(inboxes, Query(limit, newest_first=False), most)
    for id, inbox in inboxes.items():
        at = got.reached[mark_of(id)]
        assert at & 1 or at in inbox


def test_a_page_has_an_event_however_long_it_is() -> None:
    reader = ListReader(["*"], Query(10), 1)
    events = [(4, event("*", "a")), (2, event("*", "b"))]
    assert not reader.add({"*": Part(events, 4, complete=True)})
    found = reader.page()
    assert [each.id.position for each in found.events] == [4]
    assert found.next == EventId("all", 4)


@pytest.mark.parametrize("newest_first", [True, False])
def test_an_empty_list_has_no_next_page_and_goes_on_at_what_is_settled(newest_first: bool) -> None:
    found = page({"*": {}, "alice": {}}, Query(10, newest_first), 1)
    assert found == ([], None, {"all": SETTLED, mark_of("alice"): SETTLED})
