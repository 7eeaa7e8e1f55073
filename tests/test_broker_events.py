"""Where it goes what is heard from Redis, and what a node gets to know that did not hear it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from unittest import mock

import pytest

from aionotify.auth.revocations import Revocations
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.control import Control, ControlChannel, Revoked
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.broker_events import BrokerEvents
from aionotify.config import RedisConfig
from aionotify.errors import BrokerUnavailable
from aionotify.events.event import EVERYONE
from aionotify.streams.hub import Hub
from tests.harness import RedisServer, eventually
from tests.streams.test_hub import Wanted, attach

OURS, THEIRS = "ours", "theirs"


class Kept(ControlChannel):
    """What Redis has of revocations; `meanwhile` is heard before it has been read."""

    def __init__(self) -> None:
        self.kept = Revoked(OURS, 0, 0, [])
        self.reads = 0
        self.failures = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def revoke_unheard(self, user_id: str, missing: int = 0) -> None:
        last = self.kept.number + 1
        users = [each for each in self.kept.users if each[0] != user_id]
        self.kept = Revoked(self.kept.installation, last, missing, [*users, (user_id, last)])

    async def revoked(self) -> Revoked:
        self.reads += 1
        kept = self.kept
        await asyncio.sleep(0)
        self.meanwhile()
        if self.failures:
            self.failures -= 1
            raise BrokerUnavailable("it is gone")
        return kept


class Node:
    """What hears, and who is told."""

    def __init__(self) -> None:
        self.revocations = Revocations()
        self.redis = Kept()
        self.hub = Hub(Wanted())
        self.missed = 0
        self.events = BrokerEvents(self.hub, self.revocations, self.redis, self.miss)
        self.known = DataSet(by_client(mock.Mock()), Keys("p"), retention=60, max_events=1)

    def miss(self) -> None:
        self.missed += 1

    async def find(self, epoch: str) -> None:
        """Hear which data set Redis has."""
        self.known.epoch = epoch
        self.events.data_set(self.known)
        await self.events.caught_up(5)

    def hear(self, user_id: str, number: float, installation: str = OURS) -> None:
        self.events.revoked(Control(None, user_id, number, installation))

    async def connect(self) -> None:
        self.events.confirmed(EVERYONE)
        await self.events.caught_up(5)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.events.close()


async def test_who_is_revoked_is_noted_first_and_then_closed(node: Node) -> None:
    """Who is closed comes back at once."""
    await node.connect()
    stream = attach(node.hub, "alice")
    known = []
    stream.close = lambda reason: known.append(node.revocations.since(0, "alice"))  # type: ignore[method-assign]
    node.hear("alice", 1.0)
    assert known == [True]


async def test_what_was_missed_is_acted_upon_once_redis_is_heard(node: Node) -> None:
    """And what has been acted upon is not again, for the user may have come back."""
    await node.connect()
    alice, bob = attach(node.hub, "alice"), attach(node.hub, "bob")
    node.redis.revoke_unheard("bob")
    node.hear("bob", 1.0)
    assert bob.closed == ["revoked"]
    node.events.lost()
    node.redis.revoke_unheard("alice")
    again = attach(node.hub, "bob")
    await node.connect()
    assert alice.closed == ["revoked"]
    assert again.closed == []
    assert node.revocations.complete
    assert node.revocations.number == 2


async def test_what_is_heard_while_that_is_read_counts_as_well(node: Node) -> None:
    node.redis.meanwhile = lambda: node.hear("alice", 7.0)
    await node.connect()
    assert node.revocations.number == 7
    assert node.revocations.outdates(6, "alice")


async def test_what_was_read_before_the_connection_was_lost_again_proves_nothing(
    node: Node,
) -> None:
    node.redis.meanwhile = node.events.lost
    await node.connect()
    assert not node.revocations.complete


async def test_it_is_read_anew_for_each_connection(node: Node) -> None:
    def blink() -> None:
        node.redis.meanwhile = lambda: None
        node.events.lost()
        node.redis.revoke_unheard("alice")
        node.events.confirmed(EVERYONE)

    node.redis.meanwhile = blink
    await node.connect()
    assert node.revocations.complete
    assert node.revocations.outdates(0, "alice")


async def test_a_redis_that_cannot_be_read_is_asked_until_it_can(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aionotify.broker_events._RETRY", 0.01)
    node.redis.failures = 3
    node.redis.revoke_unheard("alice")
    stream = attach(node.hub, "alice")
    node.events.confirmed(EVERYONE)
    await eventually(lambda: node.revocations.complete)
    assert stream.closed == ["revoked"]
    assert "revocations cannot be read" in caplog.text


async def test_nobody_waits_for_that_for_ever(node: Node) -> None:
    node.redis.failures = 10**9
    node.events.confirmed(EVERYONE)
    await node.events.caught_up(0.01)
    assert not node.revocations.complete


async def test_when_it_cannot_be_told_who_was_revoked_anybody_may_have_been(node: Node) -> None:
    await node.connect()
    now = node.revocations.now
    node.events.lost()
    node.redis.revoke_unheard("alice", missing=1)
    await node.connect()
    assert node.revocations.since(now, "bob")
    assert node.revocations.outdates(0, "bob")
    assert not node.revocations.outdates(1, "bob")


async def test_who_may_have_been_revoked_is_told_once_and_only_if_somebody_may(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when it is known who was, nor when nobody has a stream."""
    node.redis.kept = Revoked(OURS, 5, 5, [])
    await node.connect()
    assert node.missed == 0
    attach(node.hub, "bob")
    node.events.lost()
    node.redis.revoke_unheard("alice")
    await node.connect()
    assert node.missed == 0
    node.events.lost()
    node.redis.revoke_unheard("alice", missing=7)
    await node.connect()
    await node.connect()
    assert node.missed == 1
    assert sum(each.startswith("revocations missed") for each in caplog.messages) == 1


@pytest.mark.parametrize("hears", [True, False])
async def test_with_another_data_set_anybody_may_have_been_revoked(node: Node, hears: bool) -> None:
    """Whether it is found while something is heard or after that was not so; once."""
    node.redis.kept = Revoked(OURS, 1000, 0, [("bob", 1000)])
    await node.find("first")
    await node.connect()
    attach(node.hub, "carol")
    now = node.revocations.now
    if not hears:
        node.events.lost()
    node.redis.kept = Revoked("", 3, 0, [])
    await node.find("second")
    assert node.revocations.complete == hears
    if not hears:
        await node.connect()
    await node.find("second")
    assert node.missed == 1
    assert node.revocations.since(now, "carol")
    assert node.revocations.number == 3
    assert not node.revocations.outdates(3, "bob"), "its numbers begin anew"


async def test_a_data_set_that_is_found_for_the_first_time_is_no_other_one(node: Node) -> None:
    attach(node.hub, "carol")
    await node.connect()
    await node.find("first")
    assert node.missed == 0


async def test_a_counter_that_redis_has_lost_is_as_good_as_another_data_set(node: Node) -> None:
    """It may be all that was lost."""
    node.redis.kept = Revoked(OURS, 1000, 0, [])
    await node.connect()
    attach(node.hub, "carol")
    node.events.lost()
    node.redis.kept = Revoked("", 1001, 0, [])
    await node.connect()
    assert node.missed == 1


async def test_what_is_missing_from_long_ago_outdates_nothing(node: Node) -> None:
    node.redis.kept = Revoked(OURS, 5, 5, [])
    await node.connect()
    now = node.revocations.now
    node.events.lost()
    await node.connect()
    assert not node.revocations.since(now, "bob")


async def test_another_installation_on_the_same_redis_closes_nothing(node: Node) -> None:
    """Pub/sub knows no databases, which is where its numbers are."""
    for _ in range(2):  # also before ours has a name
        node.redis.kept = node.redis.kept._replace(installation=OURS if node.redis.reads else "")
        await node.connect()
        stream = attach(node.hub, "alice")
        number = node.revocations.number
        node.hear("alice", 10.0**15, THEIRS)
        await node.events.caught_up(5)
        assert stream.closed == []
        assert node.revocations.number == number


async def test_an_installation_that_has_got_another_name_is_still_obeyed(node: Node) -> None:
    """Redis has lost what it had, and counts from another number on."""
    node.redis.kept = Revoked(OURS, 1000, 0, [("bob", 1000)])
    await node.connect()
    stream = attach(node.hub, "alice")
    node.redis.kept = Revoked("new", 3, 0, [("alice", 3)])
    node.hear("alice", 3.0, "new")
    await node.events.caught_up(5)
    assert stream.closed == ["revoked"]
    assert node.revocations.number == 3


@pytest.mark.parametrize("installation", ["", OURS])
async def test_a_revocation_that_could_not_be_kept_is_obeyed(node: Node, installation: str) -> None:
    """Also by a node that has not read yet of which installation it is."""
    stream = attach(node.hub, "alice")
    node.hear("alice", 5.5, installation)
    assert stream.closed == ["revoked"]
    await node.connect()
    other = attach(node.hub, "bob")
    node.hear("bob", 5.5, installation)
    assert other.closed == ["revoked"]


async def test_a_node_that_is_new_knows_a_number_above_all_that_are_forgotten(
    redis_server: RedisServer,
) -> None:
    """Or those that remember a user's revocation would take what it issues for older."""
    endpoint = Endpoint(RedisConfig(url=redis_server.url))
    control = ControlChannel(endpoint.commands("writes").execute, Keys("p", ""), 60)
    old, new = Revocations(), Revocations()
    for revocations in (old, new):
        events = BrokerEvents(Hub(Wanted()), revocations, control)
        events.confirmed(EVERYONE)
        await events.caught_up(5)
        if revocations is old:
            await control.revoke("alice")
            events.confirmed(EVERYONE)
            await events.caught_up(5)
            redis_server.cli("FLUSHALL")  # as if it had expired
        await events.close()
    await control.close()
    await endpoint.close()
    assert old.outdates(0, "alice")
    assert not old.outdates(new.number, "alice")
