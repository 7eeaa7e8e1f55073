"""SIGTERM with streams in every state: all are told or cut off, and the process exits 0 in time."""

import asyncio
import json
import signal
import time
from contextlib import AsyncExitStack
from os import kill

from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, publish, received, stream


async def ended(server: NotifyServer) -> tuple[int, float]:
    """Ask it to end; return the exit code and the seconds that it took."""
    began = time.monotonic()
    code = await server.terminate()
    return code, time.monotonic() - began


async def test_every_stream_is_told_and_asked_to_come_back_at_a_moment_of_its_own(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"server.drain": 3, "stream.retry": 2000})
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(stream(server, str(n), version=version))
            for n, version in enumerate(["1.1"] * 18 + ["1.0"] * 2)
        ]
        stalled = await stack.enter_async_context(stream(server, "x", receive_buffer=4096))
        stalled.stall()
        for count in range(1, 21):
            publish(redis_server, {"recipient_id": ["x", "0"], "text": "x" * 60_000})
            await received(clients[0], count)
        code, seconds = await ended(server)
        assert (code, seconds < 3) == (0, True), seconds
        for client in clients:
            assert await client.wait_end() == "complete"
            last = client.events[-1]
            assert (last.event, json.loads(last.data)) == ("aionotify.drain", {"reason": "drain"})
            assert last.id == client.last_event_id  # to go on from at the next node
        pauses = {client.retry for client in clients}
        assert len(pauses) > 10
        assert all(pause is not None and 1000 <= pause <= 3000 for pause in pauses)
        stalled.flow()
        assert await stalled.wait_end() == "reset"
    reasons = [line.partition("reason=")[2].split()[0] for line in server.logs if "closed" in line]
    assert reasons == ["drain"] * 21


async def test_a_redis_that_hangs_does_not_hold_up_the_end(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Nor do streams that wait for it, be it for their first byte."""
    server = await serve({"redis.url": own_redis.url, "server.drain": 3})
    async with AsyncExitStack() as stack:
        clients = [stream(server, str(n)) for n in range(100)]
        await asyncio.gather(*map(stack.enter_async_context, clients[:60]))
        for client in clients[:60]:
            await client.wait_events(1)
        own_redis.pause()
        opening = [asyncio.create_task(client.connect()) for client in clients[60:]]
        await eventually(lambda: _streams(server, 100))
        code, seconds = await ended(server)
        assert (code, seconds < 3) == (0, True), seconds
        await asyncio.wait(opening)
        for client in clients[60:]:
            stack.push_async_callback(client.close)
        for client in clients:
            assert client.status == 200
            await client.wait_end()
            assert client.events[-1].event == "aionotify.drain"


async def _streams(server: NotifyServer, count: int) -> bool:
    return await metric(server, "aionotify_streams") == count


async def test_a_client_that_comes_during_the_drain_is_sent_elsewhere(serve: Serve) -> None:
    server = await serve({"server.drain": 3})
    async with AsyncExitStack() as stack:
        for n in range(30):
            await stack.enter_async_context(stream(server, str(n)))
        kill(server.pid, signal.SIGTERM)
        await eventually(lambda: any("draining" in line for line in server.logs))
        answer = await ask(server, token="token-new")
        assert (answer.status, answer.code) == (503, "node_full")
        assert int(answer.headers["Retry-After"]) >= 1
        ready = await ask(server, "/readyz")
        assert (ready.status, ready.json["checks"]["draining"]["ok"]) == (503, False)
        assert (await ask(server, "/healthz")).status == 200
        assert await server.wait() == 0
