"""The client's list and marks: asked of a real server, and asked for again after an outage."""

import asyncio

import pytest
from redis.asyncio import Redis

from aionotify import Client, HistoryPage, ListedEvent, Publisher, StreamRefused
from tests.client.test_client import Server, answer
from tests.embedded import embedded
from tests.harness import RedisServer

PAGE = b'{"events":[],"unread":0,"next":null,"cursor":"2.x"}'
JSON = "Content-Type: application/json"


async def test_a_client_lists_in_pages_streams_from_there_and_marks(
    redis_server: RedisServer,
) -> None:
    async with (
        embedded(redis_server.url) as (url, _),
        Redis.from_url(redis_server.url) as redis,
        Publisher(redis) as publisher,
        Client(f"{url}/notify", token="token-42") as client,
    ):
        ids = [
            (await publisher.publish({"recipient_id": "42", "event": each})).event_id
            for each in "aba"
        ]
        first = await client.history(limit=2)
        assert [event.event_id for event in first.events] == ids[:0:-1]
        assert first.events[0].data == {"recipient_id": "42", "event": "a"}
        assert isinstance(first.events[0], ListedEvent)
        second = await client.history(limit=2, before=first.next)
        assert ([event.event_id for event in second.events], second.next) == (ids[:1], None)
        oldest = await client.history(order="oldest", events=["a", "c"], after=ids[0])
        assert [event.event_id for event in oldest.events] == ids[2:]
        client.last_event_id = first.cursor or ""
        await publisher.publish({"recipient_id": "42", "event": "last"})
        async with asyncio.timeout(10):
            types = [(await anext(client)).type for _ in range(2)]
        assert types == ["aionotify.open", "last"]
        assert await client.mark_read(ids=ids[:1]) == 3
        assert await client.mark_read(upto=client.last_event_id, ids=ids) == 0
        with pytest.raises(StreamRefused) as refused:
            await client.history(limit=0)
        assert (refused.value.status, refused.value.code) == (400, "invalid_event")


async def test_a_list_is_asked_for_again_after_an_outage() -> None:
    failed = answer("503 Service Unavailable", b"{}", "Retry-After: 0", JSON)
    async with (
        Server(failed, b"", b"", answer("200 OK", PAGE, JSON)).listening() as server,
        Client(server.url, token="t") as client,
    ):
        client._retry = 0.05
        async with asyncio.timeout(10):
            assert await client.history() == HistoryPage([], 0, None, "2.x")
        assert server.requests[0].startswith("GET /inbox?order=newest&limit=50 ")
        assert set(server.header("Authorization")) == {"Bearer t"}
        assert len(server.requests) > 2


@pytest.mark.parametrize("status", ["401 Unauthorized", "301 Moved Permanently"])
async def test_a_list_that_is_refused_is_not_asked_for_again(status: str) -> None:
    async with (
        Server(answer(status, b"{}", "Location: /elsewhere")).listening() as server,
        Client(server.url) as client,
    ):
        with pytest.raises(StreamRefused):
            await client.history()
        assert len(server.requests) == 1
