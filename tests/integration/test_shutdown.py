"""SIGTERM with streams in every state: all are told or cut off, and the process exits 0 in time."""

import asyncio
import json
import signal
import socket
import time
from contextlib import AsyncExitStack
from os import kill

import pytest

from tests.harness import MainHost, Mode, NotifyServer, RedisServer, eventually, free_port
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import ask, metric, publish, received, stream


async def ended(server: NotifyServer) -> tuple[int, float]:
    """Ask it to end; return the exit code and the seconds that it took."""
    began = time.monotonic()
    code = await server.terminate()
    return code, time.monotonic() - began


@BOTH_WAYS
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
        assert (code, seconds < 3 + 2) == (0, True), seconds
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
        assert (code, seconds < 3 + 2) == (0, True), seconds
        await asyncio.wait(opening)
        for client in clients[60:]:
            stack.push_async_callback(client.close)
        for client in clients:
            assert client.status == 200
            await client.wait_end()
            assert client.events[-1].event == "aionotify.drain"


async def _streams(server: NotifyServer, count: int) -> bool:
    return await metric(server, "aionotify_streams") == count


def is_refused(server: NotifyServer) -> bool:
    """Whether nobody listens on the public address: every client tries that again."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.settings["server.port"])) != 0


async def readiness(url: str) -> tuple[int, bool]:
    """The status of /readyz, and whether the check for the drain passes."""
    answer = await ask(url, "/readyz")
    return answer.status, answer.json["checks"]["draining"]["ok"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_node_that_drains_refuses_connections_and_says_so_at_its_admin_address(
    serve: Serve, workers: int
) -> None:
    settings = {"admin.port": free_port(), "server.drain": 5, "server.workers": workers}
    server, admin = await serve(settings), f"http://127.0.0.1:{settings['admin.port']}"
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, str(n))) for n in range(30)]
        assert await readiness(admin) == (200, True)
        kill(server.pid, signal.SIGTERM)
        await eventually(lambda: is_refused(server))
        assert await readiness(admin) == (503, False)
        assert (await ask(admin, "/healthz")).status == 200
        assert any(client.end is None for client in clients)
        assert await server.wait() == 0


@BOTH_WAYS
async def test_streams_are_taken_until_balancers_have_turned_away(serve: Serve) -> None:
    """During `server.drain_delay` the node is not ready, and is what it always was."""
    server = await serve({"server.drain": 5, "server.drain_delay": 4})
    async with stream(server, "1") as before:
        began = time.monotonic()
        kill(server.pid, signal.SIGTERM)
        await eventually(lambda: any("draining" in line for line in server.logs))
        assert await readiness(server.url) == (503, False)
        async with stream(server, "2") as during:
            assert during.status == 200
            await during.wait_events(1)
            assert before.end is None
            for client in (before, during):
                assert await client.wait_end() == "complete"
                assert time.monotonic() - began > 4
                assert client.events[-1].event == "aionotify.drain"
            assert is_refused(server)
        assert await server.wait() == 0
        assert time.monotonic() - began < 7


@BOTH_WAYS
async def test_a_second_signal_is_not_kept_waiting(serve: Serve) -> None:
    server = await serve({"server.drain": 60, "server.drain_delay": 60})
    async with stream(server, "1") as client:
        kill(server.pid, signal.SIGTERM)
        await eventually(lambda: any("draining" in line for line in server.logs))
        assert await server.terminate(timeout=20) == 1
        assert await client.wait_end() == "complete"
        assert client.events[-1].event == "aionotify.drain"


@BOTH_WAYS
async def test_requests_under_way_are_answered_on_connections_that_then_close(
    serve: Serve, main_host: MainHost
) -> None:
    """A stream among them begins, says where it is and when to come back, and ends."""
    server = await serve({"server.drain": 10, "auth.main_host.timeout": 20})
    main_host.delay, main_host.mode = 3, Mode.SLOW
    client = stream(server, "1")
    opening = asyncio.create_task(client.connect())
    ticket = asyncio.create_task(ask(server, "/notify/ticket", "POST", token="token-2"))
    await eventually(lambda: main_host.in_flight == 2)
    kill(server.pid, signal.SIGTERM)
    await eventually(lambda: is_refused(server))
    assert not opening.done()
    answer = await ticket
    assert (answer.status, answer.headers["Connection"]) == (201, "close")
    await opening
    assert (client.status, client.headers["connection"]) == (200, "close")
    assert await client.wait_end() == "complete"
    assert [event.event for event in client.events] == ["aionotify.open", "aionotify.drain"]
    assert client.last_event_id
    await client.close()
    assert await server.wait() == 0
