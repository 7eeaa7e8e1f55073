"""Redis goes away in every way there is, and comes back: streams stay, delivery resumes."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from aionotify import Publisher
from tests.harness import NotifyServer, RedisServer, SSEClient, TcpProxy, eventually
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import (
    ask,
    cpu_seconds,
    metric,
    publish,
    received,
    stream,
)

NOTICED = 5.0  # seconds in which silence has to be noticed
RESUMED = 2.0  # seconds in which delivery has to go on once Redis is back


@pytest.fixture
async def proxy(own_redis: RedisServer) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(own_redis.port) as proxy:
        yield proxy


class Outage:
    """A fault to cause and to end. `seen` is whether Redis can still be published to meanwhile."""

    def __init__(self, name: str, redis: RedisServer, proxy: TcpProxy) -> None:
        self.name = name
        self.redis = redis
        self.proxy = proxy

    async def begin(self) -> None:
        match self.name:
            case "stopped":
                self.redis.stop()
            case "killed":
                self.redis.kill()
            case "frozen":
                self.redis.pause()
            case "black hole":
                self.proxy.stall()
            case "unreachable":
                await self.proxy.refuse()

    async def end(self) -> None:
        match self.name:
            case "stopped" | "killed":
                self.redis.start()
            case "frozen":
                self.redis.resume()
            case _:
                await self.proxy.restore()


async def not_ready(server: NotifyServer) -> str:
    """Return why readiness objects, once it does."""

    async def refused() -> str:
        answer = await ask(server, "/readyz")
        assert answer.status == 503
        assert answer.json["ready"] is False
        assert answer.json["checks"]["redis"]["ok"] is False
        return str(answer.json["checks"]["redis"]["reason"])

    return await eventually(refused, timeout=NOTICED)


async def delivers(redis: RedisServer, clients: list[SSEClient], timeout: float) -> None:
    """Return when an event that is published from now on reaches each of `clients`."""
    mark = uuid4().hex

    def arrived() -> bool:
        publish(redis, {"recipient_id": "*", "mark": mark})
        return all(any(mark in event.data for event in client.events) for client in clients)

    await eventually(arrived, timeout=timeout, interval=0.05)


@BOTH_WAYS
@pytest.mark.parametrize("fault", ["stopped", "killed", "frozen", "black hole", "unreachable"])
async def test_streams_outlive_an_outage_and_go_on_soon_after_it(
    serve: Serve, own_redis: RedisServer, proxy: TcpProxy, fault: str
) -> None:
    server = await serve({"redis.url": proxy.url, "stream.heartbeat": 0.3})
    outage = Outage(fault, own_redis, proxy)
    clients = [stream(server, str(n)) for n in range(5)]
    for client in clients:
        await client.connect()
    await delivers(own_redis, clients, timeout=5)

    await outage.begin()
    assert await not_ready(server)
    assert (await ask(server, "/healthz")).status == 200
    pid, cpu, began = server.pid, cpu_seconds(server.pid), asyncio.get_running_loop().time()
    beats = [client.heartbeats for client in clients]
    late = stream(server, "late")
    await late.connect()  # whoever comes now is welcome, too
    assert late.status == 200
    clients.append(late)
    await eventually(
        lambda: all(
            client.heartbeats >= n + 3 for client, n in zip(clients, [*beats, 0], strict=True)
        )
    )
    elapsed = asyncio.get_running_loop().time() - began
    assert cpu_seconds(server.pid) - cpu < 0.3 * elapsed, "a busy loop"

    await outage.end()
    await delivers(own_redis, clients, timeout=RESUMED)
    await eventually(lambda: _is_ready(server), timeout=RESUMED)
    assert server.pid == pid
    assert all(client.end is None for client in clients)
    for client in clients:
        await client.close()
    await eventually(lambda: sum(": subscribed to Redis" in line for line in server.logs) == 2)
    lost = [line for line in server.logs if "not subscribed to Redis" in line]
    found = [line for line in server.logs if ": subscribed to Redis" in line]
    assert (len(lost), len(found)) == (1, 2)  # once each, however often it was tried


async def _is_ready(server: NotifyServer) -> bool:
    return (await ask(server, "/readyz")).status == 200


async def test_a_server_starts_without_redis_and_finds_it_when_it_comes(
    serve: Serve, own_redis: RedisServer
) -> None:
    own_redis.stop()
    server = await serve({"redis.url": own_redis.url}, until="/healthz")
    assert await not_ready(server)
    assert await metric(server, "aionotify_check_ok", check="redis") == 0
    async with stream(server, "42") as client:
        assert client.status == 200
        await client.wait_events(1)
        own_redis.start()
        await delivers(own_redis, [client], timeout=RESUMED)
        assert [event.event for event in client.events].count("aionotify.gap") == 0
        await eventually(lambda: _is_ready(server), timeout=RESUMED)
        assert await metric(server, "aionotify_check_ok", check="redis") == 1


@BOTH_WAYS
async def test_durable_events_arrive_once_and_in_order_after_a_node_was_cut_off(
    serve: Serve, own_redis: RedisServer, proxy: TcpProxy
) -> None:
    server = await serve({"redis.url": proxy.url})
    async with (
        Publisher(own_redis.url) as publisher,
        stream(server, "42") as client,
        stream(server, "7") as other,
    ):
        await client.wait_events(1)
        await other.wait_events(1)
        await proxy.refuse()
        await not_ready(server)
        for n in range(20):
            await publisher.publish({"recipient_id": "*" if n % 2 else "42", "n": n})
        await proxy.restore()
        assert [event["n"] for event in await received(client, 20)] == list(range(20))
        assert [event["n"] for event in await received(other, 10)] == list(range(1, 20, 2))
        await publisher.publish({"recipient_id": "*", "n": 20})
        assert (await received(client, 21))[-1]["n"] == 20
        assert (await received(other, 11))[-1]["n"] == 20
        assert not [e for e in client.events + other.events if e.event == "aionotify.gap"]


async def test_redis_restarted_again_and_again_leaves_nothing_broken(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({"redis.url": own_redis.url})
    async with stream(server, "42") as client:
        for _ in range(4):
            own_redis.restart()
            await delivers(own_redis, [client], timeout=RESUMED)
        assert client.end is None
    subscribers = own_redis.cli("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
    assert len(subscribers) == 1


async def test_a_node_whose_connection_alone_is_killed_is_heard_again(
    serve: Serve, own_redis: RedisServer
) -> None:
    """As Redis does to a subscriber that falls behind."""
    server = await serve({"redis.url": own_redis.url})
    async with stream(server, "42") as client:
        await client.wait_events(1)
        assert own_redis.cli("CLIENT", "KILL", "TYPE", "pubsub") == 1
        await delivers(own_redis, [client], timeout=RESUMED)
        assert await metric(server, "aionotify_redis_losses_total") == 1


async def test_a_redis_that_refuses_is_told_with_its_reason(
    serve: Serve, own_redis: RedisServer
) -> None:
    own_redis.cli("CONFIG", "SET", "requirepass", "secret-password")
    server = await serve({"redis.url": own_redis.url}, until="/healthz")
    assert "Authentication required" in await not_ready(server)
    wrong = own_redis.url.replace("//", "//:wrong-password@")
    other = await serve({"redis.url": wrong}, until="/healthz")
    reason = await not_ready(other)
    assert "invalid username-password pair" in reason
    assert not any("wrong-password" in line for line in [*other.logs, reason])


@BOTH_WAYS
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_vanishes_is_gone_from_the_hub(
    serve: Serve, redis_server: RedisServer, how: str
) -> None:
    server = await serve({"log.format": "json", "stream.heartbeat": 60})
    stays, goes = stream(server, "42"), stream(server, "42")
    await stays.connect()
    await goes.connect()
    await eventually(lambda: _streams(server, 2))
    if how == "reset":
        goes.reset()
    else:
        await goes.close()
    await eventually(lambda: _streams(server, 1))
    publish(redis_server, {"recipient_id": "42"})
    await received(stays, 1)
    await eventually(lambda: any("stream closed" in line for line in server.logs))
    closed = [json.loads(line) for line in server.logs if "stream closed" in line]
    assert [line["fields"]["reason"] for line in closed] == ["gone"]
    await goes.close()
    await stays.close()


async def _streams(server: NotifyServer, count: int) -> bool:
    return await metric(server, "aionotify_streams") == count
