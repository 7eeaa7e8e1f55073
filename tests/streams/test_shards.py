"""Shards and groups in the hub: when a stream knows all of its groups, and when it does not."""

import json

import pytest

from aionotify.events.event import Event, decode
from aionotify.events.group import GroupId, Ordered, mark, shard_of
from aionotify.events.page import Entry, Page
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Group, Shard

A, B, OTHER = [name for n in range(100) if shard_of(name := f"group {n}") == 1][:3]


class Interest:
    def __init__(self) -> None:
        self.wanted: list[Ordered] = []

    def want(self, of: Ordered) -> None:
        self.wanted.append(of)

    def drop(self, of: Ordered) -> None:
        self.wanted.remove(of)


@pytest.fixture
def hub() -> Hub:
    """A hub that hears the shard from position 100 on, for a stream in group A."""
    hub = Hub(Interest())
    [group] = hub.enter_groups([A])
    hub.confirmed(1)
    ask(hub, group.shard, 100)
    return hub


def shard(hub: Hub) -> Shard:
    [found] = hub.enter_groups([A])
    return found.shard


def ask(hub: Hub, shard: Shard, newest: int, after: int | None = None) -> None:
    hub.apply_page(shard, shard.question(after), Page([], newest, newest, None))


def event(group: str) -> Event:
    return decode(json.dumps({"group_id": group}).encode())


def hear(hub: Hub, group: str, position: int, previous: int | None = None) -> None:
    found = event(group) if hub.has_group(mark(GroupId(group))) else None
    previous = position - 10 if previous is None else previous
    hub.durable_to_group(1, Entry(position, previous, found, mark(GroupId(group))))


def is_known(hub: Hub, at: int, *groups: Group) -> bool:
    return shard(hub).is_known(at, hub.settled, groups)


def test_a_shard_is_wanted_while_a_stream_is_in_one_of_its_groups() -> None:
    interest = Interest()
    hub = Hub(interest)
    first, second = hub.enter_groups([A]), hub.enter_groups([A, B])
    assert interest.wanted == [1]
    hub.leave_groups(second)
    assert interest.wanted == [1]
    hub.leave_groups(first)
    assert interest.wanted == []
    assert not hub.has_group(mark(GroupId(A)))


def test_an_event_for_others_leaves_a_stream_where_it_is_up_to_date(hub: Hub) -> None:
    """However many come while it reads; one for itself does not."""
    groups = hub.enter_groups([A])
    hear(hub, OTHER, 110)
    hear(hub, OTHER, 120)
    assert is_known(hub, 100, *groups)
    hear(hub, A, 130)
    assert not is_known(hub, 120, *groups)
    assert is_known(hub, 130, *groups)


def test_what_was_heard_before_a_group_was_known_here_has_to_be_read(hub: Hub) -> None:
    hear(hub, B, 110)
    groups = hub.enter_groups([B])
    assert not is_known(hub, 100, *groups)
    assert is_known(hub, 110, *groups)


def test_what_was_heard_before_a_gap_says_nothing_of_what_was_in_it(hub: Hub) -> None:
    groups = hub.enter_groups([A])
    hear(hub, OTHER, 110)
    hear(hub, OTHER, 200, previous=190)
    assert not is_known(hub, 110, *groups)
    hear(hub, OTHER, 210)
    assert is_known(hub, 200, *groups)


def test_an_event_that_was_read_and_is_not_heard_was_missed(hub: Hub) -> None:
    """By when all that was published before has been heard."""
    groups = hub.enter_groups([A])
    ask(hub, shard(hub), 150, after=100)
    hub.know("abcdef", 141, 3600)
    assert is_known(hub, 100, *groups)
    hub.know("abcdef", 151, 3600)
    assert not is_known(hub, 100, *groups)
    assert shard(hub).newest == 150


def test_an_event_that_was_read_and_is_heard_was_not_missed(hub: Hub) -> None:
    ask(hub, shard(hub), 150, after=100)
    hear(hub, OTHER, 150, previous=100)
    hub.know("abcdef", 151, 3600)
    assert (hub.stats.missed, shard(hub).since) == (0, 100)


def test_a_position_that_a_shard_denies_is_lost_to_who_comes_from_before(hub: Hub) -> None:
    hear(hub, OTHER, 110)
    found = shard(hub)
    question = found.question(100)
    hub.apply_page(found, question, Page([], 120, 120, None, denied=(110,)))
    assert found.gone == 111
    assert not is_known(hub, 100)
