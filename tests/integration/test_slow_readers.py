"""A client that does not read costs little, delays nobody, loses nothing durable, is cut off."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from redis import Redis

from aionotify import Publisher
from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import (
    CHANNEL,
    messages,
    metric,
    publish,
    received,
    resident_bytes,
    stream,
)

ESTABLISHED, FIN_WAIT, LAST_ACK = "01", "04", "09"  # TCP states in /proc/net/tcp
MIB = 2**20


def sockets(server: NotifyServer) -> list[tuple[str, int]]:
    """State and unacknowledged or unsent bytes of each of the server's TCP connections."""
    port = f":{int(server.url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [
        (fields[3], int(fields[4].partition(":")[0], 16))
        for fields in lines
        if fields[1].endswith(port) and fields[3] != "0A"  # the one that listens
    ]


def burst(redis: RedisServer, count: int, size: int) -> None:
    """Publish events to everyone, `size` bytes each."""
    with Redis(port=redis.port) as client, client.pipeline(transaction=False) as pipeline:
        for n in range(count):
            event = {"recipient_id": "*", "n": n, "text": "x" * size}
            pipeline.publish(CHANNEL, json.dumps(event))
        pipeline.execute()


@BOTH_WAYS
async def test_readers_that_stall_cost_bounded_memory_and_delay_nobody(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"server.max_streams_per_user": 0, "stream.send_timeout": 60})
    async with stream(server, "7") as reader, AsyncExitStack() as stack:
        for _ in range(40):
            client = stream(server, "42", receive_buffer=4096)
            await stack.enter_async_context(client)
            client.stall()
        burst(redis_server, 20, 1000)  # whatever is allocated once
        await received(reader, 20)
        before = resident_bytes(server.pid)
        for round in range(1, 121):  # 12 MB to each, were they to take it
            burst(redis_server, 2, 50_000)
            await received(reader, 20 + 2 * round)  # or it would be too slow itself
        # Nothing was kept from the one who reads, and of the others nobody holds up anybody.
        numbers = [json.loads(event.data)["n"] for event in messages(reader)[20:]]
        assert numbers == [0, 1] * 120
        assert resident_bytes(server.pid) - before < 40 * 65_536 + 30 * MIB
        held = [size for state, size in sockets(server) if state == ESTABLISHED and size]
        assert len(held) >= 40
        assert max(held) < 300_000  # in the kernel, where it would be 4 MB
        assert await metric(server, "aionotify_buffered_bytes") < 41 * 2 * 65_536
        assert await metric(server, "aionotify_events_dropped_total", reason="socket_full") > 5_000
        await stack.aclose()
        await eventually(lambda: _streams(server, 1))


async def _streams(server: NotifyServer, count: int) -> bool:
    return await metric(server, "aionotify_streams") == count


@BOTH_WAYS
async def test_a_reader_that_stalls_and_goes_on_has_lost_nothing_durable(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"inbox.max_events": 1000, "stream.buffer": 8192})
    async with (
        Publisher(redis_server.url) as publisher,
        stream(server, "42", receive_buffer=4096) as slow,
        stream(server, "42") as fast,
    ):
        await slow.wait_events(1)
        slow.stall()
        events = [{"recipient_id": "42", "n": n, "text": "x" * 3000} for n in range(90)]
        for event in events:
            await publisher.publish(event)
        assert await received(fast, len(events)) == events
        assert await metric(server, "aionotify_catch_ups_total", reason="socket_full") >= 1
        slow.flow()
        assert await received(slow, len(events)) == events
        assert not [event for event in slow.events if event.event == "aionotify.gap"]


@BOTH_WAYS
async def test_a_reader_that_takes_nothing_is_reset_after_the_send_timeout(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"stream.send_timeout": 1, "stream.heartbeat": 0.2, "log.format": "json"})
    async with stream(server, "42", receive_buffer=4096) as stalled, stream(server, "7") as reader:
        await stalled.wait_events(1)
        stalled.stall()
        for round in range(1, 31):
            burst(redis_server, 1, 50_000)
            await received(reader, round)
        assert await metric(server, "aionotify_streams") == 2
        await eventually(lambda: _streams(server, 1), timeout=10)
        # Not closed politely: the kernel would go on trying to hand over what is left, for minutes.
        assert [state for state, _ in sockets(server) if state in (FIN_WAIT, LAST_ACK)] == []
        stalled.flow()
        assert await stalled.wait_end() == "reset"
        assert reader.end is None
        publish(redis_server, {"recipient_id": "7"})
        await received(reader, 31)
    await eventually(lambda: any("stream closed" in line for line in server.logs))
    closed = [json.loads(line)["fields"] for line in server.logs if "stream closed" in line]
    ended = next(fields for fields in closed if fields["user"] == "42")
    # By our own clock, or the kernel's (TCP_USER_TIMEOUT): whichever is first.
    assert ended["reason"] in ("stalled", "gone")
    assert 1 <= ended["seconds"] < 15


@BOTH_WAYS
async def test_a_reader_that_is_slow_but_reads_is_not_cut_off(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"stream.send_timeout": 3, "stream.heartbeat": 0.2})
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    with sock:
        await loop.sock_connect(sock, ("127.0.0.1", int(server.url.rpartition(":")[2])))
        await loop.sock_sendall(
            sock, b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n\r\n"
        )
        await eventually(lambda: _streams(server, 1))
        burst(redis_server, 8, 60_000)
        taken, until = 0, loop.time() + 7  # more than twice the timeout
        while loop.time() < until:
            chunk = await loop.sock_recv(sock, 2048)
            assert chunk, "cut off"
            taken += len(chunk)
            await asyncio.sleep(0.05)
        assert await _streams(server, 1)
        assert taken > 60_000
