"""More is published than a server can deliver: it says so, and nothing durable is lost."""

import json
import os
import signal
from contextlib import AsyncExitStack

from redis import Redis

from aionotify import Publisher
from tests.harness import RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import CHANNEL, ask, metric, received, resident_bytes, stream

MIB = 2**20
CROWD = json.dumps({"recipient_id": [f"user-{n:04d}" for n in range(1000)]})  # all of them absent
LONG = json.dumps({"recipient_id": "nobody", "data": "x" * 4000})


def flood(redis: RedisServer, event: str, count: int) -> None:
    with Redis(port=redis.port) as client:
        for _ in range(count // 100):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(100):
                    pipeline.publish(CHANNEL, event)
                pipeline.execute()


async def test_more_than_a_server_can_take_costs_ephemeral_events_only(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Redis cuts it off, streams stay open, and what is dropped from then on is counted."""
    server = await serve({"redis.url": own_redis.url})

    async def load() -> str | None:
        answer = (await ask(server, "/readyz")).json
        reason: str | None = answer["checks"]["load"].get("reason")
        return reason

    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(Publisher(own_redis.url))
        clients = [await stack.enter_async_context(stream(server, f"{n}")) for n in range(10)]
        for client in clients:
            await client.wait_events(1)
        assert await load() is None
        before = resident_bytes(server.pid)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            flood(own_redis, LONG, 12_000)  # 48 MB, where Redis keeps 32 and the kernel 6
            for n in range(10):
                await publisher.publish({"recipient_id": f"{n}", "data": "first"})
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await eventually(load)
        assert "Redis has cut off this node" in str(await load())

        async def dropped() -> float:
            flood(own_redis, CROWD, 500)
            return await metric(server, "aionotify_events_dropped_total", reason="overload")

        await eventually(dropped)
        assert await metric(server, "aionotify_check_ok", check="load") == 0
        await publisher.publish({"recipient_id": "*", "data": "second"})
        for client in clients:
            assert [each["data"] for each in await received(client, 2)] == ["first", "second"]
            assert not [each for each in client.events if each.event == "aionotify.gap"]
        assert await metric(server, "aionotify_streams") == 10
        assert resident_bytes(server.pid) - before < 30 * MIB
        await eventually(lambda: any("no longer overloaded" in line for line in server.logs))
        assert await load() is None
