"""What is read, on three devices of a user: it only ever grows, whoever marks what and when."""

import json
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.client import PubSub

from aionotify.broker.read_marks import MAX_KEPT, Marks, members, parse
from aionotify.events import notice
from tests.broker.lua import NOW, SECOND, source
from tests.harness import RedisServer

USER, ALL = "abcd", "all"
KEY, INBOX, CHANNEL = "p:{u}:read", "p:{u}:inbox", "p:{u}"
POSITIONS = [NOW - 2 * SECOND + 2 * n for n in range(8)]


@dataclass
class World:
    """What is kept in a real Redis.

    Attributes:
        read: what is read, as a model has it.
    """

    server: RedisServer
    read: set[tuple[str, int]] = field(default_factory=set)

    def mark(
        self, uptos: dict[str, int], ids: set[tuple[str, int]], now: int = NOW, kept: int = MAX_KEPT
    ) -> int:
        args: list[Any] = [CHANNEL, "PUBLISH", 3600, 0, kept, 0]
        for mark in (ALL, USER):
            upto = f"{uptos[mark]:014x}" if mark in uptos else ""
            others = "".join(f"{at:014x} " for each, at in sorted(ids) if each == mark)
            args += mark, upto, others
        return int(self.server.cli("EVAL", source("mark.lua", now), 2, KEY, INBOX, *args))

    def present(self) -> dict[str, Marks]:
        found = self.server.cli("HMGET", KEY, ALL, USER)
        return {
            mark: parse((kept or "").encode())
            for mark, kept in zip((ALL, USER), found, strict=True)
        }


@dataclass
class Device:
    """What one device takes for read, by what it was told."""

    read: set[str] = field(default_factory=set)
    uptos: list[str] = field(default_factory=list)

    def hear(self, told: dict[str, Any]) -> None:
        self.uptos += told["upto"]
        self.read |= set(told["ids"])

    def has(self, mark: str, position: int) -> bool:
        id = f"{mark}.{position:014x}"
        return id in self.read or any(each[:-14] == id[:-14] and id <= each for each in self.uptos)


marks = st.sampled_from([ALL, USER])
places = st.tuples(marks, st.sampled_from(POSITIONS))
steps = st.tuples(
    st.dictionaries(marks, st.sampled_from(POSITIONS), max_size=2),
    st.sets(places, max_size=4),
    st.sets(st.integers(0, 2)),  # which devices are away
)


def heard(channel: PubSub) -> list[Any]:
    """The data of all notices that were published by now."""
    channel.ping()  # what was published before comes before the answer to that
    found = []
    while (message := channel.get_message(timeout=5))["type"] != "pong":
        if message["type"] == "message":
            name, data = notice.parse(message["data"])
            assert name == "read"
            found.append(json.loads(data))
    return found


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(steps, min_size=1, max_size=10))
def test_three_devices_agree_on_what_is_read_and_nothing_becomes_unread(
    redis_server: RedisServer, story: list[Any]
) -> None:
    """Those that were away are told what there is when they come back."""
    redis_server.cli("DEL", KEY)
    world, devices = World(redis_server), [Device() for _ in range(3)]
    with redis.Redis(port=redis_server.port) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        for uptos, ids, away in story:
            assert world.mark(uptos, ids) == 1
            world.read |= ids
            world.read |= {
                (mark, at) for mark, upto in uptos.items() for at in POSITIONS if at <= upto
            }
            told = heard(channel)
            present = world.present()
            for number, device in enumerate(devices):
                for each in told if number not in away else ():
                    device.hear(each)
            for number in away:  # it comes back
                for mark, found in present.items():
                    devices[number].hear(members(mark, found))
            for mark in (ALL, USER):
                for at in POSITIONS:
                    is_read = (mark, at) in world.read
                    assert present[mark].has(at) is is_read
                    assert [device.has(mark, at) for device in devices] == [is_read] * 3


@given(st.permutations(POSITIONS), st.integers(1, 4))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_oldest_of_too_many_becomes_the_position_up_to_which_all_are_read(
    redis_server: RedisServer, order: list[int], kept: int
) -> None:
    redis_server.cli("DEL", KEY)
    world = World(redis_server)
    for at in order:
        world.mark({}, {(USER, at)}, kept=kept)
        found = world.present()[USER]
        assert found.has(at)
        assert len(found.others) <= kept
    assert all(world.present()[USER].has(at) for at in POSITIONS)


def test_nothing_is_marked_if_one_place_is_in_the_future(redis_server: RedisServer) -> None:
    """Unless an event is there already: a clock may have been set back."""
    world = World(redis_server)
    ahead = NOW + SECOND
    assert world.mark({}, {(USER, POSITIONS[0]), (ALL, ahead)}) == 0
    assert world.mark({ALL: ahead, USER: POSITIONS[0]}, set()) == 0
    assert redis_server.cli("EXISTS", KEY) == 0
    redis_server.cli("RPUSH", INBOX, f'{ahead} 1 {{"recipient_id": "u"}}')
    redis_server.cli("EXPIRE", INBOX, 60)
    assert world.mark({USER: ahead}, set()) == 1
    assert world.present()[USER].upto == ahead
