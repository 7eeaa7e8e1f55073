"""Which groups a stream has: granted, put, asked for, and what changes of these meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from aionotify.errors import BrokerUnavailable, GroupNotGranted
from aionotify.streams import memberships as module
from aionotify.streams.hub import Hub
from aionotify.streams.memberships import Memberships, check_asked
from aionotify.streams.recipient import Recipient
from tests.harness import eventually
from tests.streams.test_hub import Wanted

A, B, C = "team:a", "team:b", "team:c"


class Grouped:
    """A stream that notes which groups it was given, in order."""

    def __init__(self, recipient: Recipient, groups: frozenset[str]) -> None:
        self.recipient = recipient
        self.groups = self.shards = ()
        self.had = [groups]

    def regroup(self, groups: frozenset[str]) -> None:
        self.had.append(groups)


@dataclass
class Store:
    """What is kept of memberships; `meanwhile` is heard between a question and its answer."""

    kept: dict[str, set[str]] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    failures: int = 0
    meanwhile: Callable[[], None] = lambda: None

    async def groups_of(self, user_id: str) -> frozenset[str]:
        self.reads.append(user_id)
        found = frozenset(self.kept.get(user_id, ()))
        await asyncio.sleep(0)
        self.meanwhile()
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("it is gone")
        return found


class Node:
    """A hub, and the memberships of its streams."""

    def __init__(self) -> None:
        self.hub = Hub(Wanted())
        self.store = Store()
        self.memberships = Memberships(self.hub, self.store)

    async def open(
        self, user: str, granted: set[str] | None = None, asked: set[str] | None = None
    ) -> Grouped:
        """Open a stream as a request does; the first that it `had` is what it began with."""
        recipient = self.hub.enter(user)
        await self.memberships.learn(user)
        by_token = frozenset(granted or ())
        part = frozenset(asked) if asked else None
        chosen = self.memberships.choose(user, by_token, part)
        stream = Grouped(recipient, chosen)
        self.memberships.opened(stream, by_token, part, chosen)
        self.hub.attach(cast("Any", stream))
        return stream

    def end(self, stream: Grouped) -> None:
        self.hub.detach(cast("Any", stream))
        self.hub.leave(stream.recipient)
        self.memberships.ended(stream)


def is_complete(node: Node) -> bool:
    return node.memberships.complete


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.memberships.close()


async def test_a_stream_has_what_its_token_grants_and_what_its_user_was_put_in(node: Node) -> None:
    node.store.kept = {"alice": {B}, "bob": {C}}
    assert (await node.open("alice", {A})).had == [{A, B}]
    assert (await node.open("alice", {A, B, C}, asked={B, C})).had == [{B, C}]
    assert (await node.open("alice")).had == [{B}]
    assert (await node.open("carol")).had == [frozenset()]


async def test_memberships_are_read_once_for_all_streams_of_a_user(node: Node) -> None:
    """And again when they come back after the last one has ended."""
    streams = [await node.open("alice") for _ in range(3)]
    assert node.store.reads == ["alice"]
    for stream in streams:
        node.end(stream)
    await node.open("alice")
    assert node.store.reads == ["alice", "alice"]


async def test_where_nobody_is_put_in_groups_nothing_is_read() -> None:
    node = Node()
    node.memberships = Memberships(node.hub)
    stream = await node.open("alice", {A})
    node.memberships.heard("alice", B, member=True)
    node.memberships.resync()
    assert stream.had == [{A}]
    assert node.store.reads == []


async def test_what_has_no_groups_leaves_nothing_behind(node: Node) -> None:
    for granted in (set(), {A}):
        stream = await node.open("alice", granted)
        assert len(node.memberships._shares) == len(granted)
        node.end(stream)
    node.hub.leave(node.hub.enter("bob"))  # a request that was refused
    node.memberships.left("bob")
    assert (node.memberships._shares, node.memberships._put) == ({}, {})


def test_what_is_asked_for_and_not_granted_is_named_first_of_all() -> None:
    check_asked([A, B], frozenset({A, B, C}))
    with pytest.raises(GroupNotGranted, match="the user is not in the group 'team:c'"):
        check_asked([A, C, "team:d"], frozenset({A}))
    with pytest.raises(GroupNotGranted):
        check_asked([str(number) for number in range(10_000)], frozenset())


async def test_a_change_that_is_heard_changes_the_open_streams_of_the_user(node: Node) -> None:
    """Each within what it asked for, and nobody else's."""
    every, part, other = (
        await node.open("alice", {A}),
        await node.open("alice", {A}, asked={A}),
        await node.open("bob"),
    )
    node.memberships.heard("alice", B, member=True)
    assert every.had == [{A}, {A, B}]
    assert part.had[-1] == {A}
    node.memberships.heard("alice", B, member=True)  # no change
    assert len(every.had) == 2
    node.memberships.heard("alice", B, member=False)
    assert every.had[-1] == {A}
    node.memberships.heard("carol", B, member=True)
    assert other.had == [frozenset()]
    assert "carol" not in node.memberships._put


async def test_what_the_token_grants_stays_when_the_membership_is_taken_away(node: Node) -> None:
    stream = await node.open("alice", {A})
    node.memberships.heard("alice", A, member=True)
    node.memberships.heard("alice", A, member=False)
    assert stream.had[-1] == {A}


async def test_a_revalidation_changes_what_is_granted_within_what_was_asked_for(
    node: Node,
) -> None:
    node.store.kept = {"alice": {C}}
    every = await node.open("alice", {A})
    part = await node.open("alice", {A}, asked={A, B})
    bare = await node.open("alice")
    for stream in (every, part, bare):
        node.memberships.regrant(stream, frozenset({B, "team:d"}))
    assert every.had[-1] == {B, C, "team:d"}
    assert part.had[-1] == {B}
    assert bare.had[-1] == {B, C, "team:d"}
    node.memberships.regrant(every, frozenset())
    assert every.had[-1] == {C}


async def test_a_change_between_the_choice_and_the_opening_is_not_lost(node: Node) -> None:
    """An application's handlers may prepare a response for as long as they like."""
    node.store.kept = {"alice": {A}}
    recipient = node.hub.enter("alice")
    await node.memberships.learn("alice")
    chosen = node.memberships.choose("alice", frozenset())
    node.memberships.heard("alice", A, member=False)
    stream = Grouped(recipient, chosen)
    node.memberships.opened(stream, frozenset(), None, chosen)
    assert stream.had == [{A}, frozenset()]


async def test_a_change_that_is_heard_while_it_is_read_has_it_read_again(node: Node) -> None:
    node.store.kept = {"alice": {A}}

    def taken_away() -> None:
        node.store.meanwhile = lambda: None
        node.store.kept = {}
        node.memberships.heard("alice", A, member=False)

    node.store.meanwhile = taken_away
    assert (await node.open("alice")).had == [frozenset()]
    assert node.store.reads == ["alice", "alice"]


async def test_what_was_being_read_when_the_subscription_came_back_is_read_again(
    node: Node,
) -> None:
    """It may have been read before a change that nobody here has heard."""
    node.store.kept = {"alice": {A}}

    def resynced() -> None:
        node.store.meanwhile = lambda: None
        node.store.kept = {}
        node.memberships.resync()

    node.store.meanwhile = resynced
    assert (await node.open("alice")).had == [frozenset()]


async def test_memberships_that_cannot_be_read_open_no_stream(node: Node) -> None:
    node.store.failures = 1
    with pytest.raises(BrokerUnavailable):
        await node.open("alice")
    node.hub.leave(node.hub._recipients["alice"])
    node.memberships.left("alice")
    assert node.memberships._put == {}


async def test_all_are_read_again_when_something_may_not_have_been_heard(node: Node) -> None:
    """Some at a time, those who cannot be read until they can be, and until then it is known."""
    users = [f"user:{number}" for number in range(module._TOGETHER + 10)]
    streams = [await node.open(user) for user in users]
    node.store.kept = {user: {A} for user in users}
    node.store.failures = 3
    complete: list[list[frozenset[str]]] = []

    def note() -> None:
        complete.append([stream.had[-1] for stream in streams])

    node.memberships.when_complete(note)
    assert len(complete) == 1
    node.memberships.resync()
    node.memberships.when_complete(note)
    assert not is_complete(node)
    assert len(complete) == 1
    await eventually(lambda: is_complete(node))
    assert complete[1:] == [[{A}] * len(users)]
    assert [stream.had[-1] for stream in streams] == [{A}] * len(users)
    assert len(node.store.reads) == 2 * len(users) + 3


async def test_a_change_that_is_heard_while_all_are_read_again_is_not_undone(node: Node) -> None:
    node.store.kept = {"alice": {A}}
    stream = await node.open("alice")

    def taken_away() -> None:
        node.store.meanwhile = lambda: None
        node.store.kept = {}
        node.memberships.heard("alice", A, member=False)

    node.store.meanwhile = taken_away
    node.memberships.resync()
    await eventually(lambda: node.memberships.complete)
    assert stream.had == [{A}, frozenset()]


async def test_a_user_who_leaves_while_all_are_read_again_is_forgotten(node: Node) -> None:
    stream = await node.open("alice")
    node.store.meanwhile = lambda: node.end(stream) if "alice" in node.hub else None
    node.memberships.resync()
    await eventually(lambda: node.memberships.complete)
    assert node.memberships._put == {}


async def test_only_the_token_of_an_open_stream_grants(node: Node) -> None:
    node.store.kept = {"alice": {B}}
    stream = await node.open("alice", {A}, asked={B})
    await node.open("bob", {C})
    granted = [group for group in (A, B, C) if node.memberships.grants("alice", group)]
    assert granted == [A]
    node.end(stream)
    assert not node.memberships.grants("alice", A)
