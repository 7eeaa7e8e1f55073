"""Leases of nodes, which their probes renew: who has died is seen by all others."""

import pytest

from aionotify.broker.keys import Keys
from aionotify.broker.node_lease import LENGTH, NodeLease
from tests.broker.lua import NOW, SECOND, source
from tests.harness import RedisServer

KEYS = Keys("p")
LATER = NOW + int(LENGTH * SECOND)


def probe(server: RedisServer, lease: NodeLease, now: int) -> NodeLease:
    """Have a node probe when it is `now`, and return what it knows of its lease then."""
    settings = (0, 3600, 100, "abcdef", "", "", 300, "own", lease.name, LENGTH)
    reply = server.cli("EVAL", source("probe.lua", now), 1, KEYS.epoch, "", "", *settings)
    *_, held, lapsed = reply
    lease.renewed(lease.name, lapsed, held=bool(held), written=reply[1] == 1)
    return lease


def node(name: str) -> NodeLease:
    lease = NodeLease()
    lease.take(name)
    return lease


def test_a_lease_lapses_when_it_was_not_renewed_for_its_length(redis_server: RedisServer) -> None:
    one, other = node("one"), node("other")
    for lease in (one, other):
        assert not probe(redis_server, lease, NOW).lapsed
    assert not probe(redis_server, one, LATER).lapsed
    assert list(probe(redis_server, one, LATER + 1).lapsed) == ["other"]
    assert not one.lost


def test_a_node_whose_lease_has_lapsed_does_not_renew_it(redis_server: RedisServer) -> None:
    """Others may be taking its users away."""
    one, other = node("one"), node("other")
    probe(redis_server, one, NOW)
    assert probe(redis_server, one, LATER + 1).lost
    assert not one.lapsed
    assert list(probe(redis_server, other, LATER + 2).lapsed) == ["one"]
    one.take("one again")
    assert not probe(redis_server, one, LATER + 3).lost


def test_a_node_that_was_taken_to_be_dead_learns_of_it(redis_server: RedisServer) -> None:
    one = node("one")
    probe(redis_server, one, NOW)
    redis_server.cli("HDEL", KEYS.epoch, "node:one")
    assert probe(redis_server, one, NOW + 1).lost


def test_what_could_not_be_written_was_not_lost(own_redis: RedisServer) -> None:
    one = node("one")
    own_redis.cli("CONFIG", "SET", "maxmemory", 1)
    probe(own_redis, one, NOW)
    own_redis.cli("CONFIG", "SET", "maxmemory", 0)
    assert not probe(own_redis, one, NOW + 1).lost
    assert not probe(own_redis, one, NOW + 2).lost


@pytest.mark.parametrize("back", [10, 3600])
def test_after_the_clock_was_set_back_a_dead_node_is_seen_as_soon(
    redis_server: RedisServer, back: int
) -> None:
    """A lease from the future is none."""
    one, dead = node("one"), node("dead")
    for lease in (one, dead):
        probe(redis_server, lease, NOW)
    one.take("one again")
    now = NOW - back * SECOND
    assert set(probe(redis_server, one, now).lapsed) == {"dead", "one"}
    third = node("third")
    probe(redis_server, third, now)
    then = now + int(LENGTH * SECOND) + 1
    assert "third" not in probe(redis_server, one, then - 2).lapsed
    assert "third" in probe(redis_server, one, then).lapsed


def test_who_needs_no_lease_has_none(redis_server: RedisServer) -> None:
    probe(redis_server, node(""), NOW)
    assert not any(field.startswith("node") for field in redis_server.cli("HKEYS", KEYS.epoch))


def test_what_a_probe_found_before_the_name_changed_says_nothing_of_the_new_one() -> None:
    lease = node("old")
    lease.renewed("old", (), held=False, written=True)
    lease.take("new")
    lease.renewed("old", ["x"], held=False, written=True)
    assert not lease.lost
    assert not lease.lapsed
