"""Another Redis takes over: a node is wholly at the old one or at the new one, and says so."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import RedisError
from redis.asyncio import Redis

from aionotify import BrokerRefused, BrokerUnavailable, Published, Publisher
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.keys import Keys
from aionotify.broker.presence import Presence
from aionotify.config import RedisConfig
from aionotify.telemetry.logs import bare
from aionotify.web.services import Services
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient, TcpProxy, eventually
from tests.integration.talk import messages, stream


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """A master, and a replica that has all that it has."""
    places = [tmp_path / name for name in ("master", "replica")]
    for place in places:
        place.mkdir()
    with RedisServer(places[0]) as master, RedisServer(places[1]) as replica:
        await follow(replica, master)
        yield master, replica


async def follow(replica: RedisServer, master: RedisServer) -> None:
    replica.cli("REPLICAOF", "127.0.0.1", master.port)
    await eventually(lambda: replica.cli("INFO", "replication")["master_link_status"] == "up")


def data_of(client: SSEClient) -> list[Any]:
    return [json.loads(event.data)["data"] for event in messages(client)]


async def published(services: Services, user: str, *data: object) -> list[object]:
    """Publish events until each is known to be stored, with an id of its own."""
    for each in data:
        for attempt in range(200):
            [result] = await services.publisher.publish_many(
                [{"recipient_id": user, "data": each, "id": f"{user} {each}"}]
            )
            if isinstance(result, Published):
                break
            assert attempt < 199, result
            await asyncio.sleep(0.05)
    return list(data)


async def test_a_planned_failover_behind_one_address_is_noticed_within_seconds(
    pair: tuple[RedisServer, RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """The old master lives on as a replica and keeps its connections: nothing is lost, presence is
    right, and streams stay open.
    """
    old, new = pair
    async with TcpProxy(old.port) as proxy, embedded(proxy.url) as (url, services):
        async with stream(url, "42") as client:
            await published(services, "42", 1)
            await client.wait_for(lambda _: data_of(client) == [1])
            caplog.clear()
            new.cli("REPLICAOF", "NO", "ONE")
            proxy.lead_to(new.port)
            await follow(old, new)
            await eventually(lambda: services.stats.redis_losses == 1, timeout=3)
            await eventually(lambda: services.subscriber.problem is None, timeout=3)
            await published(services, "42", 2)
            await client.wait_for(lambda _: data_of(client) == [1, 2])
            assert await services.presence.online(["42", "43"]) == {"42": True, "43": False}
            assert await services.control.revoke("42") == 1
            assert await client.wait_end() == "complete"
        lost = [each for each in caplog.records if bare(each) == "not subscribed to Redis"]
        assert len(lost) == 1
        assert "OtherMaster" in vars(lost[0])["fields"]["reason"]
        assert old.cli("CLIENT", "LIST", "TYPE", "pubsub") == ""


@pytest.mark.parametrize("kind", ["reads", "writes"])
@pytest.mark.parametrize("info", ["+info", "-info"])
async def test_a_connection_that_is_made_anew_to_another_server_takes_all_others_along(
    tmp_path: Path, own_redis: RedisServer, kind: str, info: str
) -> None:
    """Or events would be stored at one, and heard from the other. Also where nobody may ask which
    server it is: what is published there is not heard.
    """
    with RedisServer(tmp_path) as other:
        for each in (own_redis, other):
            each.cli("ACL", "SETUSER", "default", info)
        async with (
            TcpProxy(own_redis.port) as proxy,
            embedded(proxy.url) as (url, services),
            stream(url, "42") as client,
        ):
            await published(services, "42", 1)
            await client.wait_for(lambda _: data_of(client) == [1])
            proxy.lead_to(other.port)
            assert await _kill(own_redis, f"aionotify-{kind}") == 1
            await eventually(lambda: services.stats.redis_losses == 1, timeout=4)
            await eventually(lambda: services.subscriber.problem is None, timeout=3)
            await client.wait_end()  # for nobody there knows who was revoked
            await client.reconnect()
            await published(services, "42", 2)
            await client.wait_for(lambda _: 2 in data_of(client))


async def _kill(redis: RedisServer, name: str) -> int:
    async with Redis(port=redis.port, protocol=2) as client:
        ids = [each["id"] for each in await client.client_list() if each["name"] == name]
        for each in ids:
            await client.client_kill_filter(_id=each)
        return len(ids)


async def test_presence_is_not_answered_by_a_replica(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    _, replica = pair
    endpoint = Endpoint(RedisConfig(url=replica.url))
    presence = Presence(endpoint.commands("writes").execute, Keys("aionotify", ""))
    with pytest.raises(BrokerRefused, match="read only"):
        await presence.online(["42"])
    await presence.close()
    await endpoint.close()


@pytest.mark.parametrize("question", ["presence", "revocation", "event"])
async def test_a_node_whose_master_was_demoted_answers_for_it_no_more(
    pair: tuple[RedisServer, RedisServer], question: str
) -> None:
    """From the first command on, and before the node has noticed anything."""
    old, new = pair
    async with embedded(old.url) as (_, services):
        new.cli("REPLICAOF", "NO", "ONE")
        old.cli("REPLICAOF", "127.0.0.1", new.port)
        assert services.subscriber.problem is None
        with pytest.raises(BrokerRefused, match="read only"):
            await _asked(services, question)


async def _asked(services: Services, question: str) -> object:
    match question:
        case "presence":
            return await services.presence.online(["42"])
        case "revocation":
            return await services.control.revoke("42")
    return await services.publisher.publish({"recipient_id": "42", "data": 1})


@asynccontextmanager
async def hung(redis: RedisServer, seconds: float) -> AsyncIterator[None]:
    """Have Redis hang for so long, beginning now."""
    redis.pause()
    waking = asyncio.create_task(asyncio.sleep(seconds))
    waking.add_done_callback(lambda _: redis.resume())
    try:
        yield
    finally:
        await waking


async def test_a_master_that_hung_and_was_replaced_acknowledges_nothing(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """Its answer comes, but late; what it has stored is lost once it is demoted."""
    old, new = pair
    async with TcpProxy(old.port) as proxy, Publisher(proxy.url) as publisher:
        await publisher.publish({"recipient_id": "42", "data": 1})
        async with hung(old, 1.3):
            new.cli("REPLICAOF", "NO", "ONE")
            proxy.lead_to(new.port)
            with pytest.raises(BrokerUnavailable, match="another server"):
                await publisher.publish({"recipient_id": "42", "data": 2, "id": "2"})
        result = await publisher.publish({"recipient_id": "42", "data": 2, "id": "2"})
        assert not result.repeated
        assert len(new.cli("LRANGE", "aionotify:{42}:inbox", 0, -1)) == 2


async def test_a_master_that_hung_and_was_not_replaced_acknowledges_what_it_has_stored(
    own_redis: RedisServer,
) -> None:
    async with Publisher(own_redis.url) as publisher:
        await publisher.publish({"recipient_id": "42", "data": 1})
        async with hung(own_redis, 1.3):
            await publisher.publish({"recipient_id": "42", "data": 2})
        assert len(own_redis.cli("LRANGE", "aionotify:{42}:inbox", 0, -1)) == 2


async def test_a_publisher_that_has_rested_finds_the_new_master(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    old, new = pair
    async with TcpProxy(old.port) as proxy, Publisher(proxy.url) as publisher:
        await publisher.publish({"recipient_id": "42", "data": 1})
        new.cli("REPLICAOF", "NO", "ONE")
        proxy.lead_to(new.port)
        await follow(old, new)
        publisher._data_set._probed_at -= 2
        await publisher.publish({"recipient_id": "42", "data": 2})
        assert len(new.cli("LRANGE", "aionotify:{42}:inbox", 0, -1)) == 2


async def test_when_sentinels_name_another_master_nothing_stays_at_the_old_one(
    pair: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    """A plain failover leaves the old one writable for ten seconds."""
    master, replica = pair
    place = tmp_path / "sentinel"
    place.mkdir()
    with master.sentinel(place, "svc") as sentinel:
        known = ("SENTINEL", "REPLICAS", "svc")
        await eventually(lambda: sentinel.cli(*known))
        await eventually(lambda: _master_of(sentinel) == master.port)
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/svc"
        async with embedded(url) as (address, services), stream(address, "42") as client:
            await published(services, "42", 1)
            await client.wait_for(lambda _: data_of(client) == [1])
            await eventually(lambda: _fail_over(sentinel), timeout=15)
            await eventually(lambda: _master_of(sentinel) == replica.port, timeout=15)
            await eventually(lambda: services.stats.redis_losses >= 1, timeout=3)
            await published(services, "42", *range(2, 12))
            await eventually(lambda: master.cli("ROLE")[0] == "slave", timeout=30)
            await published(services, "42", 12)
            await client.wait_for(lambda _: 12 in data_of(client))
            assert data_of(client) == list(range(1, 13))


async def test_a_publisher_that_never_rests_leaves_a_master_that_was_replaced(
    pair: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    """Within two seconds, of the ten for which that takes itself for the master."""
    master, replica = pair
    place = tmp_path / "sentinel"
    place.mkdir()
    with master.sentinel(place, "svc") as sentinel:
        await eventually(lambda: sentinel.cli("SENTINEL", "REPLICAS", "svc"))
        async with Publisher(f"redis+sentinel://127.0.0.1:{sentinel.port}/svc") as publisher:
            numbers = itertools.count()

            async def stored() -> bool:
                event = {"recipient_id": "42", "data": next(numbers)}
                with suppress(BrokerUnavailable, BrokerRefused):
                    await publisher.publish(event)
                [entry] = replica.cli("LRANGE", "aionotify:{42}:inbox", -1, -1)
                return bool(json.loads(entry.split(" ", 2)[2]) == event)

            await stored()
            await eventually(lambda: _fail_over(sentinel), timeout=15)
            await eventually(lambda: _master_of(sentinel) == replica.port, timeout=15)
            await eventually(stored, timeout=4, interval=0.2)
            assert master.cli("ROLE")[0] == "master", "or nothing was shown"


def _fail_over(sentinel: RedisServer) -> bool:
    try:
        sentinel.cli("SENTINEL", "FAILOVER", "svc")
    except RedisError:  # it does not know the replica well enough yet
        return False
    return True


def _master_of(sentinel: RedisServer) -> int:
    return int(sentinel.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "svc")[1])
