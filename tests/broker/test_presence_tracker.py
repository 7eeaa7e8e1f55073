"""presence_tracker.lua on a real Redis, whatever nodes say to it and in whatever order."""

import random
from collections import Counter, defaultdict
from typing import NamedTuple

import pytest
from redis.exceptions import ResponseError

from aionotify.broker.keys import Keys
from tests.broker.lua import NOW, source
from tests.harness import RedisServer

KEYS = Keys("p")
GRACE = 1000  # ms
MS = 1000  # microseconds


class Reply(NamedTuple):
    may: int
    came: int
    went: int
    more: int
    left: int


class Presence:
    """What nodes may call, at a time that stands still until it is moved on."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.now = NOW

    def call(self, what: str, node: str, *users: str, most: int = 500) -> Reply:
        keys = KEYS.presence(node)
        script = source("presence_tracker.lua", self.now)
        args: list[str | int] = [what, node, GRACE, 1000, most, 60, *users]
        return Reply(*self.server.cli("EVAL", script, len(keys), *keys, *args))

    def told(self) -> list[tuple[str, str]]:
        entries = self.server.cli("XRANGE", KEYS.presence_events, "-", "+")
        return [(fields["event"], fields["user_id"]) for _, fields in entries]


@pytest.fixture
def presence(redis_server: RedisServer) -> Presence:
    return Presence(redis_server)


class Model:
    """Who is at each node, and since when those who are leaving are at none."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self.nodes = {name: set[str]() for name in "abc"}
        self.left: dict[str, int] = {}
        self.told: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.nodes:
            presence.call("begin", name)

    def here(self) -> set[str]:
        return set().union(*self.nodes.values())

    def step(self, rng: random.Random) -> None:
        before = self.here()
        {"tell": self.tell, "remove": self.remove, "wait": self.wait, "settle": self.settle}[
            rng.choice(["tell"] * 12 + ["remove", "wait", "wait", "wait", "settle", "settle"])
        ](rng)
        after = self.here()
        for user in after - before:
            if self.left.pop(user, None) is None:
                self.told[user].append("came")
        self.left.update(dict.fromkeys(before - after, self.presence.now))

    def tell(self, rng: random.Random) -> None:
        name, user, is_here = rng.choice("abc"), rng.choice("12345"), rng.random() < 0.2
        self.presence.call("tell", name, f"{'+' if is_here else '-'}{user}")
        (self.nodes[name].add if is_here else self.nodes[name].discard)(user)

    def remove(self, rng: random.Random) -> None:
        name = rng.choice("abc")
        while self.presence.call("remove", name, most=2).more:
            pass
        self.nodes[name].clear()
        assert not self.presence.call("tell", name, "+1").may
        self.presence.call("begin", name)

    def wait(self, rng: random.Random) -> None:
        self.presence.now += rng.choice([1, 300, GRACE]) * MS

    def settle(self, rng: random.Random) -> None:
        while self.presence.call("settle", rng.choice("abc"), most=2).more:
            pass
        due = self.presence.now - GRACE * MS
        for user in [user for user, since in self.left.items() if since <= due]:
            del self.left[user]
            self.told[user].append("went")


@pytest.mark.parametrize("seed", range(3))
def test_of_each_user_it_is_told_that_he_comes_and_goes_in_turn(
    presence: Presence, seed: int
) -> None:
    """And neither is told too often nor too late, nor is more kept than there is."""
    rng, model = random.Random(seed), Model(presence)
    for _ in range(500):
        model.step(rng)
    told: defaultdict[str, list[str]] = defaultdict(list)
    for event, user in presence.told():
        told[user].append(event)
    assert told == model.told
    for events in told.values():
        assert events == (["came", "went"] * len(events))[: len(events)]
        assert len(events) > 2
    counts = Counter(user for users in model.nodes.values() for user in users)
    _, _, users, leaving, _ = KEYS.presence("a")
    kept = presence.server.cli("HGETALL", users)
    assert kept == {user: str(count) for user, count in counts.items()}
    assert set(presence.server.cli("ZRANGE", leaving, 0, -1)) == model.left.keys()


def test_whoever_repeats_what_was_said_changes_nothing(presence: Presence) -> None:
    presence.call("begin", "a")
    assert presence.call("tell", "a", "+1", "+2").came == 2
    assert presence.call("tell", "a", "+1", "+2", "-3").came == 0
    for node in ("a", "nobody"):
        presence.call("remove", node)
    assert presence.call("remove", "a").left == GRACE
    presence.now += GRACE * MS
    assert presence.call("settle", "b").went == 2
    assert presence.call("settle", "b") == Reply(0, 0, 0, 0, -1)


def test_a_node_that_was_taken_away_has_nothing_to_say(presence: Presence) -> None:
    """What it said before may come late, as after a freeze."""
    presence.call("begin", "a")
    presence.call("remove", "a")
    assert presence.call("tell", "a", "+1") == Reply(0, 0, 0, 0, -1)
    assert presence.told() == []


def test_a_redis_that_is_full_refuses_and_has_changed_nothing(own_redis: RedisServer) -> None:
    presence = Presence(own_redis)
    presence.call("begin", "a")
    presence.call("tell", "a", "+1", "+2")
    presence.call("tell", "a", "-2")
    presence.now += GRACE * MS

    def kept() -> list[object]:
        nodes, there, users, leaving, _ = KEYS.presence("a")
        sets = [own_redis.cli("SMEMBERS", key) for key in (nodes, there)]
        return [*sets, own_redis.cli("HGETALL", users), own_redis.cli("ZCARD", leaving)]

    before, told = kept(), presence.told()
    own_redis.cli("CONFIG", "SET", "maxmemory", 1)
    for what in ("begin", "tell", "remove", "settle"):
        with pytest.raises(ResponseError, match="maxmemory"):
            presence.call(what, "a", "+3", "-1")
    assert (kept(), presence.told()) == (before, told)


def test_nobody_leaves_for_longer_because_the_clock_was_set_back(presence: Presence) -> None:
    presence.call("begin", "a")
    presence.call("tell", "a", "+1")
    presence.call("tell", "a", "-1")
    presence.now -= 3_600_000 * MS
    assert presence.call("settle", "a").left == GRACE
    presence.now += GRACE * MS
    assert presence.call("settle", "a").went == 1


def test_a_node_with_many_users_is_taken_away_in_portions(presence: Presence) -> None:
    presence.call("begin", "a")
    presence.call("tell", "a", *(f"+{number}" for number in range(25)))
    for more in (1, 1, 0):
        assert presence.call("remove", "a", most=10).more == more
    presence.now += GRACE * MS
    assert [presence.call("settle", "b", most=10).went for _ in range(3)] == [10, 10, 5]
