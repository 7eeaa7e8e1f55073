"""What nodes say to all nodes, and what of it those get to know that start later."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.control import Control, ControlChannel, decode_control
from aionotify.broker.keys import Keys
from aionotify.config import RedisConfig
from aionotify.errors import BrokerRefused, BrokerUnavailable, InvalidEvent
from tests.harness import RedisServer

LOG = "p:control:log"


@contextlib.asynccontextmanager
async def channel_of(server: RedisServer) -> AsyncIterator[ControlChannel]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    channel = ControlChannel(endpoint.client, Keys("p", ""))
    yield channel
    await channel.close()
    await endpoint.close()


@contextlib.contextmanager
def node(server: RedisServer) -> Iterator[redis.client.PubSub]:
    """A node's subscription, as far as Redis can tell."""
    with redis.Redis(port=server.port, protocol=2) as client, client.pubsub() as pubsub:
        pubsub.subscribe("p:control")
        assert pubsub.get_message(timeout=5)
        yield pubsub


def hear(node: redis.client.PubSub) -> bytes:
    message = node.get_message(timeout=5)
    assert message is not None
    data = message["data"]
    assert isinstance(data, bytes)
    return data


async def test_an_order_reaches_all_nodes(redis_server: RedisServer) -> None:
    """And how many there are is known, and nothing is left behind."""
    async with channel_of(redis_server) as channel:
        assert await channel.revoke("42") == 0
        with node(redis_server) as one, node(redis_server) as other:
            assert await channel.revoke("42") == 2
            assert [json.loads(hear(each)) for each in (one, other)] == [{"revoke": "42"}] * 2
    assert redis_server.cli("EXISTS", LOG) == 0


async def test_what_is_handed_over_reaches_all_nodes_as_it_was(redis_server: RedisServer) -> None:
    message = bytes(range(256))
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            assert await channel.hand_over(message, 60.0) == 1
            assert decode_control(hear(one)) == Control(handed_over=message)


async def test_it_is_kept_for_nodes_that_start_with_what_came_between(
    redis_server: RedisServer,
) -> None:
    async with channel_of(redis_server) as channel:
        await channel.revoke("1")  # of no use to anybody later, so it is not kept
        await channel.hand_over(b"first", 60.0)
        await channel.revoke("2")
        await channel.hand_over(b"second", 60.0)
        logged = await channel.logged()
    assert [decode_control(message) for _, message in logged] == [
        Control(handed_over=b"first"),
        Control(revoke="2"),
        Control(handed_over=b"second"),
    ]
    ages = [age for age, _ in logged]
    assert all(0 <= age < 10 for age in ages)
    assert ages == sorted(ages, reverse=True)


async def test_it_is_kept_for_as_long_as_the_last_to_be_kept_wants_it(
    redis_server: RedisServer,
) -> None:
    async with channel_of(redis_server) as channel:
        await channel.hand_over(b"first", 60.5)
        assert redis_server.cli("TTL", LOG) in (60, 61)
        await channel.hand_over(b"second", 300.0)
        await channel.hand_over(b"third", 10.0)
        await channel.revoke("1")
        assert 290 < redis_server.cli("TTL", LOG) <= 300


async def test_only_so_much_is_kept(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of revocations, however many there are while a node leaves."""
    monkeypatch.setattr("aionotify.broker.control._MAX_LOGGED", 5)
    async with channel_of(redis_server) as channel:
        for number in range(10):
            await channel.hand_over(b"%d" % number, 60.0)
        for number in range(3):
            await channel.revoke(str(number))
        kept = [decode_control(message) for _, message in await channel.logged()]
    assert [each.handed_over or each.revoke for each in kept] == [b"8", b"9", "0", "1", "2"]


async def test_whatever_somebody_has_put_there_is_read_as_it_is(redis_server: RedisServer) -> None:
    async with channel_of(redis_server) as channel:
        await channel.hand_over(b"message", 60.0)
        for entry in (b"", b"nonsense", b"\xff \xff", b"x {}", b"1" * 5000 + b" {}", b"1e999 {}"):
            redis_server.cli("RPUSH", LOG, entry)
        _, *nonsense = await channel.logged()
    assert len(nonsense) == 6
    for age, _ in nonsense:
        assert age >= 0


async def test_a_redis_that_stores_nothing_still_tells_all_nodes(own_redis: RedisServer) -> None:
    """And says if one that starts now might not get to know."""
    async with channel_of(own_redis) as channel:
        with node(own_redis) as one:
            own_redis.cli("CONFIG", "SET", "maxmemory", 1)
            assert await channel.revoke("1") == 1
            with pytest.raises(BrokerRefused):
                await channel.hand_over(b"message", 60.0)
            own_redis.cli("CONFIG", "SET", "maxmemory", 0)
            await channel.hand_over(b"message", 60.0)
            own_redis.cli("CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(BrokerRefused):
                await channel.revoke("2")
            heard = [decode_control(hear(one)) for _ in range(4)]
    assert [each.handed_over or each.revoke for each in heard] == ["1", b"message", b"message", "2"]


async def test_without_redis_nothing_works(own_redis: RedisServer) -> None:
    """An order that reached nobody is an error, not an answer."""
    own_redis.stop()
    async with channel_of(own_redis) as channel:
        for call in (channel.revoke("a"), channel.hand_over(b"a", 60.0), channel.logged()):
            with pytest.raises(BrokerUnavailable):
                await call


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", b"[]", b'{"revoke": 42}', b'{"handed_over": "%"}', b"\xff", b"[" * 9999],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode_control(data)
