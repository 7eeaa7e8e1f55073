"""What nodes say to all nodes, and what of it those get to know that did not hear it."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.control import ControlChannel, decode_control
from aionotify.broker.keys import Keys
from aionotify.config import RedisConfig
from aionotify.errors import BrokerRefused, BrokerUnavailable, InvalidEvent, ToldNotKept
from tests.harness import RedisServer, eventually

NUMBERS, REVOKED = "p:auth{0}:numbers", "p:auth{0}:revoked"
KEEP = 60


@contextlib.asynccontextmanager
async def channel_of(server: RedisServer, keep: float = KEEP) -> AsyncIterator[ControlChannel]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    channel = ControlChannel(endpoint.commands("writes").execute, Keys("p", ""), keep)
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


def hear(node: redis.client.PubSub) -> dict[str, Any]:
    message = node.get_message(timeout=5)
    assert message is not None
    heard: dict[str, Any] = json.loads(message["data"])
    return heard


async def test_a_revocation_reaches_all_nodes(redis_server: RedisServer) -> None:
    """And how many there are is known."""
    async with channel_of(redis_server) as channel:
        assert await channel.revoke("42") == 0
        with node(redis_server) as one, node(redis_server) as other:
            assert await channel.revoke('4"2\\é') == 2
            first, second = hear(one), hear(other)
    assert first == second
    assert first["revoke"] == '4"2\\é'


async def test_each_has_the_next_number_and_is_kept_under_it(redis_server: RedisServer) -> None:
    """Of one user the last counts."""
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            for user in ("1", "2", "1"):
                await channel.revoke(user)
            numbers = [hear(one)["number"] for _ in range(3)]
        kept = await channel.revoked()
    assert numbers[0] < numbers[1] < numbers[2]
    assert kept.users == [("2", numbers[1]), ("1", numbers[2])]
    assert kept.number == numbers[2]
    assert kept.missing == 0


async def test_it_is_kept_for_as_long_as_the_last_wants_it(redis_server: RedisServer) -> None:
    async with channel_of(redis_server, 300) as channel:
        await channel.revoke("1")
    async with channel_of(redis_server, 60) as channel:
        await channel.revoke("2")
        assert 290 < redis_server.cli("TTL", REVOKED) <= 300


async def test_that_somebody_was_revoked_is_known_for_longer_than_who(
    redis_server: RedisServer,
) -> None:
    """Or a node that comes back after that would take it that nobody was."""
    async with channel_of(redis_server, 0.1) as channel:
        await channel.revoke("1")
        await eventually(lambda: not redis_server.cli("EXISTS", REVOKED))
        kept = await channel.revoked()
        assert kept.missing == kept.number > 0
        assert redis_server.cli("TTL", NUMBERS) > 365 * 86400


async def test_only_so_many_are_kept_and_it_is_known_up_to_which_some_are_missing(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.broker.control._MAX_KEPT", 3)
    async with channel_of(redis_server) as channel:
        for user in ("1", "2"):
            await channel.revoke(user)
        assert (await channel.revoked()).missing == 0
        for user in ("3", "4", "5"):
            await channel.revoke(user)
        kept = await channel.revoked()
    assert [user for user, _ in kept.users] == ["3", "4", "5"]
    assert kept.missing == kept.users[0][1]


async def test_what_redis_has_thrown_away_is_known_to_be_missing(redis_server: RedisServer) -> None:
    """It evicts keys one by one, if it is allowed to."""
    async with channel_of(redis_server) as channel:
        await channel.revoke("1")
        redis_server.cli("DEL", REVOKED)
        kept = await channel.revoked()
        assert kept.users == []
        assert kept.missing == kept.number > 0
        await channel.revoke("2")
        assert (await channel.revoked()).missing == kept.number, "there is one again, but not all"


async def test_a_redis_that_is_behind_gives_no_number_that_nodes_have_heard(
    redis_server: RedisServer,
) -> None:
    """As a replica that has taken over, or one that has loaded an older snapshot."""
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            await channel.revoke("1")
            before = redis_server.cli("HGET", NUMBERS, "number")
            for _ in range(3):
                await channel.revoke("2")
            heard = [hear(one)["number"] for _ in range(4)]
            redis_server.cli("HSET", NUMBERS, "number", before)
            await channel.revoke("2")
            assert hear(one)["number"] > max(heard)


async def test_numbers_go_on_growing_though_the_clock_is_behind(redis_server: RedisServer) -> None:
    ahead = 10**16
    async with channel_of(redis_server) as channel:
        await channel.revoke("1")
        redis_server.cli("HSET", NUMBERS, "number", ahead)
        await channel.revoke("2")
        assert (await channel.revoked()).number == ahead + 1


async def test_numbers_go_on_growing_after_redis_has_lost_them(redis_server: RedisServer) -> None:
    """And under another name, so that nobody takes them for the same."""
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            await channel.revoke("1")
            before = hear(one)
            redis_server.cli("FLUSHALL")
            await channel.revoke("1")
            after = hear(one)
            kept = await channel.revoked()
    assert after["number"] > before["number"]
    assert after["installation"] != before["installation"]
    assert kept.installation == after["installation"]


async def test_a_redis_that_has_kept_nothing_says_so(redis_server: RedisServer) -> None:
    """Whoever was revoked before is none of those who are revoked from now on."""
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            await channel.revoke("1")
            redis_server.cli("FLUSHALL")
            kept = await channel.revoked()
            await channel.revoke("1")
            before, after = hear(one)["number"], hear(one)["number"]
    assert (kept.installation, kept.missing, kept.users) == ("", 0, [])
    assert before < kept.number < after


@pytest.mark.parametrize(
    "garbage",
    [
        ("SET", REVOKED, "x"),
        ("SET", NUMBERS, "x"),
        ("HSET", NUMBERS, "secret", "x", "revoked", "x"),
        ("ZADD", REVOKED, "1", b"\xff"),
        ("ZADD", REVOKED, "inf", "1"),
    ],
)
async def test_whatever_somebody_has_put_there_is_refused(
    redis_server: RedisServer, garbage: tuple[str, ...]
) -> None:
    redis_server.cli(*garbage)
    async with channel_of(redis_server) as channel:
        with pytest.raises(BrokerRefused):
            await channel.revoked()
    redis_server.cli("FLUSHALL")


@pytest.mark.parametrize("before", [True, False])
async def test_a_redis_that_stores_nothing_still_tells_all_nodes(
    own_redis: RedisServer, before: bool
) -> None:
    """And says that who misses it will not get to know. Its number is between two others."""
    async with channel_of(own_redis) as channel:
        with node(own_redis) as one:
            first = 0.0
            if before:
                await channel.revoke("1")
                first = hear(one)["number"]
            own_redis.cli("CONFIG", "SET", "maxmemory", 1)
            with pytest.raises(ToldNotKept, match="used memory > 'maxmemory'") as caught:
                await channel.revoke("2")
            assert caught.value.nodes == 1
            own_redis.cli("CONFIG", "SET", "maxmemory", 0)
            heard = hear(one)
            assert (heard["revoke"], heard["number"]) == ("2", first + 0.5)
            await channel.revoke("3")
            assert hear(one)["number"] > first + 0.5


async def test_whatever_is_in_their_place_all_nodes_are_told(redis_server: RedisServer) -> None:
    async with channel_of(redis_server) as channel:
        with node(redis_server) as one:
            for garbage in (
                ("SET", NUMBERS, "x"),
                ("HSET", NUMBERS, "secret", "x", "number", "x"),
                ("SET", REVOKED, "x"),
            ):
                redis_server.cli("FLUSHALL")
                redis_server.cli(*garbage)
                with pytest.raises(ToldNotKept):
                    await channel.revoke("1")
                assert hear(one)["revoke"] == "1"
    redis_server.cli("FLUSHALL")


async def test_a_replica_tells_nobody_that_anybody_was_told(
    own_redis: RedisServer, redis_server: RedisServer
) -> None:
    own_redis.cli("REPLICAOF", "127.0.0.1", redis_server.port)
    async with channel_of(own_redis) as channel:
        with pytest.raises(BrokerRefused) as caught:
            await channel.revoke("1")
    assert not isinstance(caught.value, ToldNotKept)


async def test_without_redis_nothing_works(own_redis: RedisServer) -> None:
    """An order that reached nobody is an error, not an answer."""
    own_redis.stop()
    async with channel_of(own_redis) as channel:
        for call in (channel.revoke("a"), channel.revoked()):
            with pytest.raises(BrokerUnavailable):
                await call


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"revoke": 42}',
        b'{"number": "1"}',
        b'{"number": -1}',
        b'{"number": 1e300}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode_control(data)
