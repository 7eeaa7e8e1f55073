"""recall.lua: one event is taken out of an inbox and nodes are told, or nothing at all happens."""

from collections.abc import Iterator

import pytest
import redis

from tests.broker.lua import NOW, Scripts
from tests.harness import RedisServer


@pytest.fixture
def scripts(redis_server: RedisServer) -> Scripts:
    return Scripts(redis_server)


@pytest.fixture
def subscriber(redis_server: RedisServer) -> Iterator[redis.client.PubSub]:
    with redis.Redis(port=redis_server.port, protocol=2, decode_responses=True) as client:
        pubsub = client.pubsub()
        pubsub.subscribe("p:{u}")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        yield pubsub
        pubsub.close()


def events(scripts: Scripts) -> list[str]:
    return [entry.split(" ", 2)[2] for entry in scripts.stored()]


@pytest.mark.parametrize("number", range(5))
def test_an_event_is_taken_out_wherever_it_is(scripts: Scripts, number: int) -> None:
    """All others stay, and its place and position."""
    positions = [scripts.append(str(each)).position for each in range(5)]
    before = scripts.stored()
    assert scripts.recall(positions[number])
    assert events(scripts) == [str(each) if each != number else "" for each in range(5)]
    assert [entry.rsplit(" ", 1)[0] for entry in scripts.stored()] == [
        entry.rsplit(" ", 1)[0] for entry in before
    ]


def test_nodes_are_told_of_an_event_that_was_there(
    scripts: Scripts, subscriber: redis.client.PubSub
) -> None:
    position = scripts.append("a").position
    assert subscriber.get_message(timeout=5)["data"].endswith(" a")
    assert scripts.recall(position)
    assert subscriber.get_message(timeout=5)["data"] == "- recalled {}"
    assert not scripts.recall(position)
    assert not scripts.recall(position + 2)
    assert subscriber.get_message() is None


@pytest.mark.parametrize("wanted", [0, 1, NOW - 2, NOW + 1, NOW + 1000])
def test_an_event_that_is_not_there_is_not_recalled(scripts: Scripts, wanted: int) -> None:
    assert not scripts.recall(wanted)
    scripts.append("a")
    scripts.append("b")
    before = scripts.stored()
    assert not scripts.recall(wanted)
    assert scripts.stored() == before


def test_garbage_does_not_hide_an_event(scripts: Scripts) -> None:
    garbage = ["no entry", "", f"{NOW}", "9000000000000001 0 {}"]
    positions = [scripts.append("event").position]  # garbage at the head is trimmed
    for number in range(4):
        scripts.server.cli("RPUSH", scripts.inbox, *garbage[: number + 1])
        positions.append(scripts.append(f"event {number}").position)
    for position in positions:
        assert scripts.recall(position)
    assert not [entry for entry in scripts.stored() if "event" in entry]
    assert [entry for entry in scripts.stored() if entry in garbage] == [
        each for number in range(4) for each in garbage[: number + 1]
    ]


def test_an_event_whose_place_a_newer_one_took_is_not_there(scripts: Scripts) -> None:
    older = scripts.append("a", collapse="k").position
    newer = scripts.append("b", collapse="k").position
    assert not scripts.recall(older)
    assert scripts.recall(newer)
    scripts.append("c", collapse="k")
    assert events(scripts) == ["", "", "c"]


def test_who_may_not_tell_the_nodes_recalls_nothing(own_redis: RedisServer) -> None:
    scripts = Scripts(own_redis)
    position = scripts.append("a").position
    own_redis.cli("ACL", "SETUSER", "mute", "on", "nopass", "~*", "resetchannels", "+@all")
    with (
        redis.Redis(port=own_redis.port, username="mute", password="x") as mute,
        pytest.raises(redis.exceptions.ResponseError),
    ):
        scripts.recall(position, by=mute)
    assert events(scripts) == ["a"]
