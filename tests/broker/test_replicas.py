"""Events that count as published when a replica has them: one that is there, stopped, or absent."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from redis.asyncio import Redis

from aionotify import BrokerUnavailable, Publisher
from tests.embedded import embedded
from tests.harness import RedisServer, TcpProxy, eventually
from tests.integration.talk import ask, stream

INBOX = "aionotify:{42}:inbox"
EVENT = {"recipient_id": "42", "id": "a", "data": 1}
KEY = "publisher-key-0123456789"


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """A master, and a replica that has all that it has."""
    places = [tmp_path / name for name in ("master", "replica")]
    for place in places:
        place.mkdir()
    at_once = {"repl-diskless-sync-delay": "0"}
    with RedisServer(places[0], options=at_once) as master, RedisServer(places[1]) as replica:
        replica.cli("REPLICAOF", "127.0.0.1", master.port)
        await eventually(lambda: _acknowledged(master))
        yield master, replica


def _acknowledged(master: RedisServer) -> bool:
    """Whether its replica says so when it has something, which it does not from the beginning."""
    with redis.Redis(port=master.port, protocol=2, single_connection_client=True) as client:
        client.set("key", "value", px=1)
        return bool(client.execute_command("WAIT", 1, 100) == 1)


def waits(server: RedisServer) -> int:
    """How often somebody has waited for replicas."""
    found = server.cli("INFO", "commandstats").get("cmdstat_wait", {"calls": 0})
    return int(found["calls"])


async def test_what_is_acknowledged_is_at_the_replica(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    master, replica = pair
    async with Publisher(master.url, wait_replicas=1) as publisher:
        for count in range(1, 20):
            await publisher.publish({"recipient_id": "42", "data": count})
            assert replica.cli("LLEN", INBOX) == count


@pytest.mark.parametrize("how", ["address", "client"])
async def test_a_batch_waits_once(pair: tuple[RedisServer, RedisServer], how: str) -> None:
    master, replica = pair
    async with Redis(port=master.port, protocol=2) as client:
        given = master.url if how == "address" else client
        async with Publisher(given, wait_replicas=1) as publisher:
            await publisher.publish(EVENT)
            before = waits(master)
            events = [{"recipient_id": "42", "data": each} for each in range(128)]
            results = await publisher.publish_many(events)
    assert not any(isinstance(each, Exception) for each in results)
    assert replica.cli("LLEN", INBOX) == 100
    assert waits(master) == before + 2


async def test_without_the_replica_nothing_is_acknowledged_and_the_same_id_is_delivered_once(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """Nor to another producer with the same event, though its connection has written nothing."""
    master, replica = pair
    async with (
        Publisher(master.url, wait_replicas=1) as publisher,
        Publisher(master.url, wait_replicas=1) as other,
    ):
        await other.publish({"recipient_id": "43"})
        replica.pause()
        for each in (publisher, publisher, other):
            with pytest.raises(BrokerUnavailable, match="only 0 of 1 replicas"):
                await each.publish(EVENT)
        replica.resume()
        for each in (publisher, other):
            assert (await each.publish(EVENT)).repeated
    assert replica.cli("LLEN", INBOX) == 1


async def test_a_replica_that_never_was_is_missed(own_redis: RedisServer) -> None:
    """Of many events at once all are told as soon as the first are."""
    async with Publisher(own_redis.url, wait_replicas=1) as publisher:
        events = [{"recipient_id": "42", "data": each} for each in range(1000)]
        results = await publisher.publish_many(events)
        assert {str(each) for each in results} == {"only 0 of 1 replicas had it within 0.5 s"}
        assert waits(own_redis) == 1


async def test_a_redis_that_does_not_wait_acknowledges_nothing(own_redis: RedisServer) -> None:
    own_redis.cli("ACL", "SETUSER", "default", "-wait")
    async with Publisher(own_redis.url, wait_replicas=1) as publisher:
        with pytest.raises(BrokerUnavailable, match="does not wait for replicas: NOPERM"):
            await publisher.publish(EVENT)


async def test_a_node_goes_on_with_all_else_while_events_wait_for_a_replica(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    master, replica = pair
    settings = {"url": master.url, "wait_replicas": 1}
    async with embedded(master.url, redis=settings, admin={"publish_keys": [KEY]}) as (
        url,
        services,
    ):
        body = json.dumps(EVENT).encode()
        replica.pause()
        publishing = asyncio.create_task(ask(url, "/publish", "POST", token=KEY, data=body))
        await eventually(lambda: master.cli("INFO", "clients")["blocked_clients"] == 1)
        async with stream(url, "42"):
            assert await services.presence.online(["42"]) == {"42": True}
            assert not publishing.done()
        answer = await publishing
        assert answer.status == 503
        [result] = answer.json["error"]["results"]
        assert result["error"]["message"] == "only 0 of 1 replicas had it within 0.5 s"
        assert services.subscriber.problem is None
        replica.resume()
        answer = await ask(url, "/publish", "POST", token=KEY, data=body)
        assert answer.status == 202


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_each_connection_of_such_a_node_is_asked_in_turn(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """Also that which events are written on, or it could be to another master."""
    master, _ = pair
    settings = {"url": master.url, "wait_replicas": 1}
    async with embedded(master.url, redis=settings):
        ours = {"aionotify-reads", "aionotify-writes", "aionotify-publishing"}
        await eventually(lambda: ours <= {each["name"] for each in master.cli("CLIENT LIST")})


async def test_such_a_connection_that_is_made_anew_to_another_server_is_noticed(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """Or events would be stored where nobody hears them."""
    master, other = pair
    other.cli("REPLICAOF", "NO", "ONE")
    async with TcpProxy(master.port) as proxy:
        settings = {"url": proxy.url, "wait_replicas": 1}
        async with embedded(proxy.url, redis=settings) as (_, services):
            [id] = [
                each["id"]
                for each in master.cli("CLIENT LIST")
                if each["name"] == "aionotify-publishing"
            ]
            proxy.lead_to(other.port)
            master.cli("CLIENT", "KILL", "ID", id)
            await eventually(lambda: services.stats.redis_losses == 1, timeout=5)
            await eventually(lambda: master.cli("CLIENT", "LIST", "TYPE", "pubsub") == "")
            await eventually(lambda: services.subscriber.problem is None, timeout=3)
