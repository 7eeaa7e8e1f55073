"""Which data set Redis has and what time it is there, whatever its clock does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.config import RedisConfig
from aionotify.errors import BrokerRefused, BrokerUnavailable
from tests.broker.lua import NOW, SECOND, source
from tests.harness import RedisServer, eventually

KEYS = Keys("p")
DAY = 86400
HOUR = 3600


@asynccontextmanager
async def known(
    server: RedisServer,
    retention: int = DAY,
    max_events: int = 100,
    agreed: Sequence[str] = (),
) -> AsyncIterator[DataSet]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    data_set = DataSet(
        endpoint.commands("writes").execute,
        KEYS,
        retention=retention,
        max_events=max_events,
        agreed=agreed,
    )
    try:
        yield data_set
    finally:
        await data_set.close()
        await endpoint.close()


def probe(
    server: RedisServer,
    now: int,
    *,
    floor: int = 0,
    retention: int = DAY,
    max_events: int = 100,
    channel: str = "",
    more: tuple[str, ...] = (),
) -> tuple[int, int, list[str]]:
    """Ask when it is `now`; return clock, since and what others have set."""
    args: tuple[str | int, ...] = (
        channel,
        "",
        floor,
        retention,
        max_events,
        "abcdef",
        "",
        "",
        300,
        "own",
        "",
        5,
        *more,
    )
    reply = server.cli("EVAL", source("probe.lua", now), 1, KEYS.epoch, *args)
    _, written, _, clock, since, _, others, *_ = reply
    assert written == 1
    return int(clock), int(since), others


# --- the epoch --------------------------------------------------------------------------------


async def test_all_who_ask_know_a_data_set_by_the_same_name(redis_server: RedisServer) -> None:
    async with known(redis_server) as one, known(redis_server) as other:
        for each in (one, other, one):
            await each.probe()
        assert one.epoch == other.epoch == redis_server.cli("HGET", KEYS.epoch, "epoch")
        assert redis_server.cli("TTL", KEYS.epoch) == -1


async def test_a_data_set_that_was_wiped_is_another_one_to_whoever_asks_first(
    redis_server: RedisServer,
) -> None:
    async with known(redis_server) as one, known(redis_server) as other:
        await one.probe()
        await other.probe()
        for first, second in ((one, other), (other, one)):
            before = one.epoch
            redis_server.cli("FLUSHALL")
            await first.probe()
            assert first.epoch != before
            await second.probe()
            assert one.epoch == other.epoch


async def test_what_cannot_be_stored_has_no_name_yet(own_redis: RedisServer) -> None:
    """But a time: who only reads gets on."""
    own_redis.cli("CONFIG", "SET", "maxmemory", "1")
    async with known(own_redis) as data_set:
        found = await data_set.probe()
        assert found.refused is not None
        assert "maxmemory" in found.refused
        assert data_set.epoch is None
        assert data_set.settled < data_set.floor == found.clock
        own_redis.cli("CONFIG", "SET", "maxmemory", "0")
        assert (await data_set.probe()).refused is None
        assert data_set.epoch is not None


async def test_a_message_goes_out_even_when_nothing_can_be_stored(own_redis: RedisServer) -> None:
    own_redis.cli("CONFIG", "SET", "maxmemory", "1")
    with Redis(port=own_redis.port, protocol=2) as client, client.pubsub() as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=5)
        async with known(own_redis) as data_set:
            await data_set.probe("channel", b"hello")
        message = pubsub.get_message(timeout=5)
        assert message is not None
        assert message["data"] == b"hello"


async def test_who_may_not_write_leaves_the_store_to_others(own_redis: RedisServer) -> None:
    own_redis.cli("ACL", "SETUSER", "default", "-hset")
    async with known(own_redis) as data_set:
        assert (await data_set.probe()).refused is None


async def test_without_redis_nothing_is_known(own_redis: RedisServer) -> None:
    async with known(own_redis) as data_set:
        own_redis.stop()
        with pytest.raises(BrokerUnavailable):
            await data_set.probe()
        with pytest.raises(BrokerUnavailable):
            await data_set.refresh()
        assert (data_set.epoch, data_set.floor, data_set.settled) == (None, 0, 0)


async def test_who_may_not_touch_the_key_publishes_without(own_redis: RedisServer) -> None:
    own_redis.cli("ACL", "SETUSER", "default", "resetkeys", "~p:{*")
    async with known(own_redis) as data_set:
        with pytest.raises(BrokerRefused):
            await data_set.probe()
        await data_set.refresh()


async def test_it_is_asked_only_when_what_is_known_is_old(redis_server: RedisServer) -> None:
    async with known(redis_server) as data_set:
        await data_set.refresh()
        first = data_set.floor
        await data_set.refresh()
        assert data_set.floor == first
        data_set._probed_at -= 2
        await data_set.refresh()
        assert data_set.floor > first


async def test_a_client_that_decodes_replies_will_do(redis_server: RedisServer) -> None:
    async with AsyncRedis(port=redis_server.port, protocol=2, decode_responses=True) as client:
        data_set = DataSet(by_client(lambda: client), KEYS, retention=DAY, max_events=100)
        await data_set.probe()
        assert data_set.epoch == redis_server.cli("HGET", KEYS.epoch, "epoch")
        await data_set.close()


# --- the clock --------------------------------------------------------------------------------


def test_the_clock_never_goes_back(redis_server: RedisServer) -> None:
    """Neither when Redis' does, nor when somebody has seen a later one elsewhere."""
    assert probe(redis_server, NOW)[0] == NOW
    assert probe(redis_server, NOW - HOUR * SECOND)[0] == NOW
    assert probe(redis_server, NOW - HOUR * SECOND, floor=NOW + 5)[0] == NOW + 5
    assert probe(redis_server, NOW + SECOND)[0] == NOW + SECOND


async def test_after_another_server_took_over_positions_are_later_than_all_before(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    """By more than the time for which the last may not have been copied."""
    with RedisServer(tmp_path_factory.mktemp("other")) as other:
        clients = [AsyncRedis(port=each.port, protocol=2) for each in (redis_server, other)]
        data_set = DataSet(by_client(lambda: clients[0]), KEYS, retention=DAY, max_events=100)
        await data_set.probe()
        before = (await data_set.probe()).clock
        assert data_set.floor == before
        await clients.pop(0).aclose()
        after = (await data_set.probe()).clock
        assert after >= before
        assert SECOND <= data_set.floor - before <= 2 * SECOND or data_set.floor == after
        await data_set.close()
        await clients[0].aclose()


async def test_many_who_find_another_server_do_not_push_the_time_ahead_one_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> None:
    """By two seconds at most, in all, but for the time that passes meanwhile."""
    with RedisServer(tmp_path_factory.mktemp("other")) as other:
        clients = [AsyncRedis(port=each.port, protocol=2) for each in (redis_server, other)]
        data_sets = [
            DataSet(by_client(lambda: clients[0]), KEYS, retention=DAY, max_events=100)
            for _ in range(8)
        ]
        for each in data_sets:
            await each.probe()
        await clients.pop(0).aclose()
        clock = [(await each.probe()).clock for each in data_sets for _ in range(2)][-1]
        seconds, micros = other.cli("TIME")
        assert clock - (int(seconds) * SECOND + int(micros)) <= 2 * SECOND
        for each in data_sets:
            await each.close()
        await clients[0].aclose()


# --- since --------------------------------------------------------------------------------------


def test_nothing_expired_within_the_retention(redis_server: RedisServer) -> None:
    assert probe(redis_server, NOW)[1] == NOW - DAY * SECOND
    later = NOW + HOUR * SECOND
    assert probe(redis_server, later)[1] == later - DAY * SECOND


def test_what_was_kept_for_a_shorter_time_may_have_expired(redis_server: RedisServer) -> None:
    """All that was stored until then, and in the seconds until whoever publishes knew: no more."""
    probe(redis_server, NOW, retention=HOUR)
    day = DAY * SECOND
    assert probe(redis_server, NOW + SECOND)[1] == NOW + SECOND - HOUR * SECOND
    assert probe(redis_server, NOW + HOUR * SECOND)[1] == NOW
    assert probe(redis_server, NOW + 2 * HOUR * SECOND)[1] == NOW + 3 * SECOND
    assert probe(redis_server, NOW + 3 * HOUR * SECOND)[1] == NOW + 3 * SECOND
    assert probe(redis_server, NOW + day + HOUR * SECOND)[1] == NOW + HOUR * SECOND


def test_a_publisher_that_keeps_less_shortens_it_for_all(redis_server: RedisServer) -> None:
    """Also what it has stored last, long after it has stopped."""
    probe(redis_server, NOW)
    probe(redis_server, NOW + SECOND, retention=HOUR)
    assert probe(redis_server, NOW + HOUR * SECOND)[1] == NOW
    assert probe(redis_server, NOW + 5 * HOUR * SECOND)[1] == NOW + 4 * SECOND


def test_settings_are_forgotten_once_they_make_no_difference(redis_server: RedisServer) -> None:
    probe(redis_server, NOW, retention=HOUR)
    for hours in (2, 3):
        probe(redis_server, NOW + hours * HOUR * SECOND)
    fields = redis_server.cli("HKEYS", KEYS.epoch)
    assert sorted(fields) == [f"{DAY} 100", "clock", "epoch", "since"]


# --- settings that differ -------------------------------------------------------------------------


@pytest.mark.parametrize(("retention", "max_events"), [(HOUR, 100), (DAY, 50)])
async def test_settings_that_differ_are_told_for_as_long_as_they_are_used(
    redis_server: RedisServer, retention: int, max_events: int
) -> None:
    """And a while longer: who publishes now and then says so now and then."""
    async with known(redis_server) as one, known(redis_server, retention, max_events) as other:
        for each in (one, other, one):
            await each.probe()
        assert one.settings.problem == (
            f"somebody keeps {max_events} events for {retention} s, and this node 100 for {DAY} s"
        )
        for _ in range(29):
            await one.probe()
        assert one.settings.problem is not None
        await one.probe()
        problem = one.settings.problem
        assert problem is None


async def test_nodes_with_other_agreed_settings_are_told(redis_server: RedisServer) -> None:
    """Whatever else they agree about; a producer, which has no such settings, is none of them."""
    async with (
        known(redis_server, agreed=["channel one", "users http://a/who"]) as one,
        known(redis_server, agreed=["channel other", "users http://b/who"]) as other,
        known(redis_server) as producer,
    ):
        for each in (one, producer, one, other, producer, one):
            await each.probe()
        assert one.settings.problem == (
            "somebody has redis.channel other, and this node one; "
            "somebody identifies users by http://b/who, and this node by http://a/who"
        )
        assert producer.settings.problem is None


async def test_who_else_listens_on_our_channel_is_counted(redis_server: RedisServer) -> None:
    """Whoever hears only that is no node of this prefix and database."""
    async with (
        known(redis_server) as data_set,
        AsyncRedis.from_url(redis_server.url) as client,
        client.pubsub() as node,
        client.pubsub() as stranger,
    ):
        await node.subscribe(KEYS.control, KEYS.ephemeral)
        await node.get_message(timeout=5)
        await data_set.probe(KEYS.control, b"{}")
        assert data_set.settings.problem is None
        await stranger.subscribe(KEYS.ephemeral)
        await stranger.get_message(timeout=5)
        await data_set.probe(KEYS.control, b"{}")
        problem = data_set.settings.problem
        assert problem == (
            "1 more listen on push_notifications than nodes of this prefix and database"
        )


def test_agreed_settings_are_forgotten_after_an_hour(redis_server: RedisServer) -> None:
    probe(redis_server, NOW, more=("channel old",))
    for later in (HOUR - 1, HOUR + 1):
        probe(redis_server, NOW + later * SECOND, more=("channel new",))
        kept = redis_server.cli("HEXISTS", KEYS.epoch, "channel old")
        assert kept == (later < HOUR)


async def test_what_one_has_used_before_a_reload_is_no_difference(
    redis_server: RedisServer,
) -> None:
    async with known(redis_server) as data_set, known(redis_server, HOUR) as new:
        await data_set.probe()
        data_set.adopt(new)
        for _ in range(3):
            await data_set.probe()
            assert data_set.settings.problem is None
        assert data_set.retention == HOUR


# --- what time it is --------------------------------------------------------------------------


async def test_the_time_in_redis_is_known_between_two_questions(redis_server: RedisServer) -> None:
    """It is not ahead of what Redis itself would say, but for what clocks of one machine differ."""
    async with known(redis_server) as data_set:
        assert data_set.clock() == 0
        found = await data_set.probe()
        before = found.clock
        for _ in range(5):
            clock = data_set.clock()
            seconds, micros = map(int, redis_server.cli("TIME"))
            now = seconds * SECOND + micros
            assert before - SECOND // 100 <= clock <= now + SECOND // 100
            before = now


async def test_the_time_stands_still_while_the_clock_is_behind_what_was_seen(
    redis_server: RedisServer,
) -> None:
    """Or an event, whose position is not before that, would be old as soon as it is published."""
    async with known(redis_server) as data_set:
        seen = (await data_set.probe()).clock + HOUR * SECOND
        redis_server.cli("HSET", KEYS.epoch, "clock", seen)
        await data_set.probe()  # it is set back now
        await data_set.probe()
        before = int(redis_server.cli("TIME")[1])
        assert data_set.clock() == seen
        await eventually(lambda: int(redis_server.cli("TIME")[1]) != before)
        assert data_set.clock() == seen
