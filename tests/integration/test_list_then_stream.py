"""A page that loads its list and then streams misses nothing and gets nothing twice."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from aionotify import Publisher
from aionotify.config import InboxConfig
from aionotify.events.event_id import mark_of
from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, messages, stream

KEPT = InboxConfig(max_events=10_000, retention=600)
SETTINGS = {"inbox.max_events": KEPT.max_events, "inbox.retention": KEPT.retention}


@asynccontextmanager
async def publisher(redis: RedisServer, inbox: InboxConfig = KEPT) -> AsyncIterator[Publisher]:
    async with Redis.from_url(redis.url) as client, Publisher(client, inbox=inbox) as made:
        yield made


async def listed(server: NotifyServer, query: str = "") -> tuple[list[str], str]:
    """The ids in the whole list, the oldest first, and the cursor of its first page."""
    page = (await ask(server, f"/inbox?limit=20{query}", token="token-42")).json
    cursor, ids = page["cursor"], [each["event_id"] for each in page["events"]]
    while page["next"] is not None:
        path = f"/inbox?limit=100&before={page['next']}"
        page = (await ask(server, path, token="token-42")).json
        ids += [each["event_id"] for each in page["events"]]
    return ids[::-1], cursor


def streamed(client: SSEClient) -> list[str]:
    """The ids of what came on the stream, by the rule of docs/protocol.rst."""
    ids = []
    for event in messages(client):
        parts = event.id.split(".")
        ids.append(f"all.{parts[2]}" if parts[-1] == "all" else f"{parts[-1]}.{parts[3]}")
    return ids


async def test_nothing_is_missed_or_doubled_while_somebody_publishes(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Whichever of two nodes is asked for the list, and whichever for the stream."""
    nodes = [await serve(SETTINGS) for _ in range(2)]
    published: list[str] = []
    ends = asyncio.Event()

    async def produce(made: Publisher) -> None:
        for n in itertools.count():
            if ends.is_set():
                break
            event = {"recipient_id": "*" if n % 3 == 0 else "42", "n": n}
            published.append((await made.publish(event)).event_id)

    async def visit(one: NotifyServer, other: NotifyServer, pause: float) -> None:
        ids, cursor = await listed(one)
        await asyncio.sleep(pause)
        client = stream(other, "42")
        client.last_event_id = cursor
        async with client:
            await client.wait_for(lambda _: len(messages(client)) > 100)
            ids += streamed(client)
            assert all(event.event != "aionotify.gap" for event in client.events)
        for mark in ("all", mark_of("42")):  # the order of a stream is that of each inbox
            mine = [each for each in ids if each.startswith(mark)]
            end = published.index(mine[-1]) + 1
            assert mine == [each for each in published[:end] if each.startswith(mark)]

    async with publisher(redis_server) as made, asyncio.TaskGroup() as group:
        for _ in range(3):
            await made.publish({"recipient_id": "42"})
        published += (await listed(nodes[0]))[0]
        producer = group.create_task(produce(made))
        pairs = list(itertools.product(nodes, nodes))
        for _ in range(3):
            await asyncio.gather(*(visit(*pair, 0.05 * n) for n, pair in enumerate(pairs)))
        ends.set()
        await producer


async def test_a_list_of_an_inbox_that_has_expired_is_empty_and_its_stream_goes_on(
    serve: Serve, redis_server: RedisServer
) -> None:
    settings = {"inbox.retention": 2}
    server = await serve(settings)
    async with publisher(redis_server, InboxConfig(retention=2)) as made:
        for recipient in ("42", "*"):
            await made.publish({"recipient_id": recipient})
        assert len((await listed(server))[0]) == 2

        async def is_empty() -> bool:
            return not (await listed(server))[0]

        await eventually(is_empty)
        _, cursor = await listed(server)
        later = [(await made.publish({"recipient_id": each})).event_id for each in ("42", "*")]
        client = stream(server, "42")
        client.last_event_id = cursor
        async with client:
            await client.wait_for(lambda _: len(messages(client)) == 2)
            assert streamed(client) == later
            assert all(event.event != "aionotify.gap" for event in client.events)


async def test_who_lists_before_redis_loses_its_data_is_told_of_the_gap_and_gets_all_that_follows(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({"redis.url": own_redis.url})
    async with publisher(own_redis) as made:
        await made.publish({"recipient_id": "42"})
        _, cursor = await listed(server)
    own_redis.stop()
    own_redis.start()

    async def is_ready() -> bool:
        return (await ask(server, "/readyz")).status == 200

    await eventually(is_ready)
    async with publisher(own_redis) as made:
        later = [(await made.publish({"recipient_id": each})).event_id for each in ("42", "*")]
    ids, _ = await listed(server)
    assert sorted(ids) == sorted(later)
    client = stream(server, "42")
    client.last_event_id = cursor
    async with client:
        await client.wait_for(lambda _: len(messages(client)) == 2)
        assert sorted(streamed(client)) == sorted(later)
        gaps = [event for event in client.events if event.event == "aionotify.gap"]
        assert [json.loads(each.data)["reason"] for each in gaps] == ["lost"]
