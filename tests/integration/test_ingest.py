"""Events that a producer adds with XADD reach clients, whatever becomes of the nodes."""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from tests.docs.snippets import arguments, snippet
from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.auth.test_redis_rights import user
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, received, stream

STREAM = "aionotify:publish"
ON = {"publish.stream": True, "inbox.max_events": 100_000, "server.drain": 0}


def add(server: RedisServer, numbers: Sequence[int], user: str = "42") -> None:
    """Add an event for each number, in one round trip."""
    with redis.Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for number in numbers:
            event = json.dumps({"recipient_id": user, "data": number})
            pipeline.xadd(STREAM, {"event": event})
        pipeline.execute()


def stored(server: RedisServer, user: str = "42") -> list[int]:
    """The numbers of the events in an inbox."""
    entries = server.cli("LRANGE", f"aionotify:{{{user}}}:inbox", 0, -1)
    return [json.loads(entry.split(" ", 2)[2])["data"] for entry in entries]


def count(server: RedisServer) -> int:
    """How many events are in the inbox."""
    return int(server.cli("LLEN", "aionotify:{42}:inbox"))


async def holder(servers: Sequence[NotifyServer]) -> NotifyServer:
    """The one that takes entries; the others have looked."""

    def says(server: NotifyServer) -> bool:
        return any(" takes published entries" in line for line in server.logs)

    await eventually(lambda: sum(map(says, servers)) == 1)
    return next(filter(says, servers))


async def test_the_line_in_the_docs_reaches_a_client(serve: Serve, own_redis: RedisServer) -> None:
    """And what is invalid is told where the docs say."""
    line = snippet("docs/producers.rst", "redis-cli XADD")
    server = await serve({**ON, "redis.url": own_redis.url})
    async with stream(server, "42") as client:
        await client.wait_events(1)
        own_redis.cli(*arguments(line)[1:])
        assert (await received(client, 1))[0]["data"] == {"order": 7}
        event = client.events[-1]
        assert event.event == "order.shipped"
        assert event.id
    own_redis.cli("XADD", STREAM, "*", "event", "{}")
    shown = snippet("docs/producers.rst", "redis-cli XRANGE")
    await eventually(lambda: own_redis.cli(*arguments(shown)[1:]))
    assert await metric(server, "aionotify_ingested_entries_total", outcome="rejected") == 1
    checks = (await ask(server, "/readyz")).json["checks"]
    assert checks["ingest"] == {"ok": True}


async def test_a_node_that_is_not_to_take_entries_asks_redis_nothing_for_it(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({"redis.url": own_redis.url})
    add(own_redis, [1])
    async with stream(server, "42") as client:
        await client.wait_events(1)
        assert own_redis.cli("XLEN", STREAM) == 1
    statistics = own_redis.cli("INFO", "commandstats")
    assert not [name for name in statistics if name in ("cmdstat_xread", "cmdstat_xrange")]


async def test_order_survives_a_node_that_is_killed_and_one_that_is_frozen(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Among three; the frozen one wakes when another one has taken over, and is not the only one
    that believes to have the lease.
    """
    settings = {**ON, "redis.url": own_redis.url}
    servers = [await serve(settings) for _ in range(3)]
    total, batch = 9000, 500

    async def produce() -> None:
        for first in range(0, total, batch):
            await asyncio.to_thread(add, own_redis, range(first, first + batch))
            # No more than the nodes keep up with, so that something happens in between.
            await eventually(lambda: own_redis.cli("XLEN", STREAM) < 2000)

    async with stream(servers[2], "42") as client:
        producing = asyncio.create_task(produce())
        await eventually(lambda: count(own_redis) > 1000)
        frozen = await holder(servers)
        os.kill(frozen.pid, signal.SIGSTOP)
        others = [server for server in servers if server is not frozen]
        second = await holder(others)
        before = count(own_redis)
        os.kill(frozen.pid, signal.SIGCONT)
        await eventually(lambda: count(own_redis) > before)
        await second.kill()
        await producing
        await eventually(lambda: own_redis.cli("XLEN", STREAM) == 0)
        assert stored(own_redis) == list(range(total))
        if servers[2] is not second:
            await client.wait_for(lambda _: client.events[-1].data.endswith(f"{total - 1}}}"))


async def test_entries_are_those_of_the_database_and_the_prefix(
    serve: Serve, own_redis: RedisServer
) -> None:
    """An installation beside it does not see them."""
    url = f"redis://127.0.0.1:{own_redis.port}/3"
    server = await serve({**ON, "redis.url": url, "redis.prefix": "shop"})
    add(own_redis, [1])
    with redis.Redis(port=own_redis.port, db=3) as client:
        client.xadd("shop:publish", {"event": b'{"recipient_id": "42", "data": 2}'})
        async with stream(server, "42", "?last_event_id=0") as listener:
            assert [each["data"] for each in await received(listener, 1)] == [2]
    assert own_redis.cli("XLEN", STREAM) == 1


async def test_node_and_producer_do_with_the_documented_rights(
    serve: Serve, own_redis: RedisServer
) -> None:
    own_redis.cli("ACL", "SETUSER", "aionotify", *user("aionotify"), *RIGHTS.split())
    own_redis.cli("ACL", "SETUSER", "adder", *user("adder"))
    address = f"password@127.0.0.1:{own_redis.port}/0"
    server = await serve({**ON, "redis.url": f"redis://aionotify:{address}"})
    with redis.Redis.from_url(f"redis://adder:{address}") as producer:
        events: list[Any] = [b"nonsense", b'{"recipient_id": "42", "data": 1}']
        for event in events:
            producer.xadd(STREAM, {"event": event})
        await eventually(lambda: own_redis.cli("XLEN", STREAM) == 0)
        for words in (("XRANGE", STREAM, "-", "+"), ("DEL", STREAM), ("GET", "x")):
            try:
                producer.execute_command(*words)
            except redis.exceptions.NoPermissionError:
                continue
            raise AssertionError(words)
    assert stored(own_redis) == [1]
    assert own_redis.cli("XLEN", f"{STREAM}:rejected") == 1
    assert (await ask(server, "/readyz")).json["checks"]["ingest"] == {"ok": True}


RIGHTS = "+xadd +xdel +xlen +xrange +xread"


def test_the_rights_are_those_that_the_docs_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.rst").read_text()
    assert f"``{RIGHTS}`` are required for ``publish.stream``" in page
