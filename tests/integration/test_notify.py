"""From PUBLISH to the browser: who gets what, and how the stream looks on the wire."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from redis import Redis

from tests.harness import MainHost, NotifyServer, RedisServer, eventually
from tests.integration.talk import CHANNEL, ask, messages, metric, publish, received, stream

# One server, as it is without settings, does for most of what is tried here.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def shared_host() -> Iterator[MainHost]:
    with MainHost() as host:
        yield host


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(_redis_process: RedisServer, shared_host: MainHost) -> AsyncIterator[NotifyServer]:
    settings = {"redis.url": _redis_process.url, "auth.main_host.url": shared_host.url}
    async with NotifyServer(settings) as server:
        yield server
    assert not any("Traceback" in line for line in server.logs), str(server)


async def test_an_event_reaches_all_streams_of_its_recipient_and_no_other(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    async with stream(server, "42") as tab, stream(server, "42") as phone, stream(server, "7") as b:
        event = {"recipient_id": "42", "event": "order.shipped", "data": {"order": 7}}
        assert publish(redis_server, event) == 1
        assert publish(redis_server, {"recipient_id": 7, "data": "for 7"}) == 1
        for client in (tab, phone):
            assert await received(client, 1) == [event]
            assert messages(client)[0].event == "order.shipped"
        # What came last has come, so nothing else is on its way.
        assert await received(b, 1) == [{"recipient_id": 7, "data": "for 7"}]
        assert messages(b)[0].event == "message"
        assert [len(messages(client)) for client in (tab, phone, b)] == [1, 1, 1]


async def test_a_star_is_for_everyone_and_a_list_for_each_without_the_others(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    async with stream(server, "1") as one, stream(server, "2") as two, stream(server, "3") as three:
        publish(redis_server, {"recipient_id": "*", "n": 1})
        publish(redis_server, {"recipient_id": [1, "2", "absent"], "n": 2})
        publish(redis_server, {"recipient_id": "*", "n": 3})
        for_all = {"recipient_id": "*", "n": 1}, {"recipient_id": "*", "n": 3}
        assert await received(one, 3) == [for_all[0], {"recipient_id": 1, "n": 2}, for_all[1]]
        assert await received(two, 3) == [for_all[0], {"recipient_id": "2", "n": 2}, for_all[1]]
        assert await received(three, 2) == list(for_all)
        assert b"absent" not in bytes(one.raw + two.raw + three.raw)


async def test_an_event_published_once_the_status_is_seen_arrives(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    """No event falls between the answer and the beginning of the stream."""
    for n in range(30):
        async with stream(server, str(n)) as client:
            publish(redis_server, {"recipient_id": str(n), "n": n})
            assert await received(client, 1) == [{"recipient_id": str(n), "n": n}]


async def test_the_head_says_that_this_is_a_stream_that_nobody_may_keep(
    server: NotifyServer,
) -> None:
    async with stream(server, "42") as client:
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert client.headers["cache-control"] == "no-store, no-transform"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["x-content-type-options"] == "nosniff"
        assert client.headers["transfer-encoding"] == "chunked"
        assert "connection" not in client.headers  # forbidden in HTTP/2
        await client.wait_events(1, timeout=5)  # at once, and not with the first heartbeat
        assert client.retry == 3000
        assert client.events[0].event == "aionotify.open"
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", client.events[0].id)


async def test_a_burst_to_one_stream_arrives_in_order_in_chunks_that_add_up(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    events = [{"recipient_id": "42", "n": n, "text": "é" * (n % 50)} for n in range(500)]
    async with stream(server, "42") as new, stream(server, "42", version="1.0") as old:
        with Redis(port=redis_server.port) as client, client.pipeline(transaction=False) as burst:
            for event in events:
                burst.publish(CHANNEL, json.dumps(event))
            burst.execute()
        assert await received(new, 500) == events
        assert await received(old, 500) == events


async def test_another_method_is_405_and_told_which_there_are(server: NotifyServer) -> None:
    for method, path, allowed in (
        ("POST", "/notify", "GET HEAD OPTIONS"),
        ("DELETE", "/notify", "GET HEAD OPTIONS"),
        ("GET", "/notify/ticket", "OPTIONS POST"),
        ("HEAD", "/notify/ticket", "OPTIONS POST"),
        ("PUT", "/publish", "OPTIONS POST"),
        ("POST", "/presence?recipient_id=1", "GET HEAD OPTIONS"),
        ("GET", "/streams/42", "DELETE OPTIONS"),
        ("PATCH", "/healthz", "GET HEAD OPTIONS"),
        ("TRACE", "/metrics", "GET HEAD OPTIONS"),
    ):
        answer = await ask(server, path, method, token="token-42")
        assert answer.status == 405, (method, path)
        assert answer.headers["Allow"] == ",".join(allowed.split())
        if method != "HEAD":
            assert answer.code == "method_not_allowed"


async def test_another_path_is_404(server: NotifyServer) -> None:
    for path in ("/", "/notify/", "/Notify", "/notify/ticket/x", "/../notify%00", "/streams/"):
        answer = await ask(server, path, token="token-42")
        assert (answer.status, answer.code) == (404, "not_found"), path


async def test_a_client_that_may_not_listen_is_told_why_and_what_to_send(
    server: NotifyServer,
) -> None:
    for authorization, status, code in (
        (None, 403, "credentials_missing"),
        ("", 403, "invalid_scheme"),
        ("Basic YTpi", 403, "invalid_scheme"),
        ("Bearer", 403, "invalid_scheme"),
        ("Bearer a b", 403, "invalid_scheme"),
        ("Bearer unknown", 401, "invalid_token"),
    ):
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = await ask(server, headers=headers)
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_no_last_event_id_is_an_error_and_a_foreign_one_is_told_as_a_gap(
    server: NotifyServer,
) -> None:
    """An EventSource would never come back after a status other than 200."""
    made_up = "1.0064471c5d6d1a.0064471c5d6d1b.aaaa"
    for headers, query in (
        ({"Last-Event-ID": made_up}, ""),
        ({}, f"?last_event_id={made_up}"),
        *(({"Last-Event-ID": text}, "") for text in ("1", "x" * 500, "é", "../..", "0", "-1")),
        *(({}, f"?last_event_id={text}") for text in ("%00", "%ff", "1.%0A", "&last_event_id=2")),
    ):
        async with stream(server, "42", query, headers=headers) as client:
            assert client.status == 200
            if query.startswith("?last_event_id=&"):
                await client.wait_events(1)  # no cursor at all
                continue
            await client.wait_for(lambda events: any(e.event == "aionotify.gap" for e in events))
            gap = next(event for event in client.events if event.event == "aionotify.gap")
            assert json.loads(gap.data) == {"reason": "unknown"}


async def test_a_body_with_the_request_does_no_harm(server: NotifyServer) -> None:
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n"
        b"Content-Length: 1000000000\r\n\r\n" + b"x" * 100_000
    )
    async with asyncio.timeout(10):
        await reader.readuntil(b"aionotify.open")
    writer.transport.abort()
    await eventually(lambda: _no_streams(server.url))


async def _no_streams(url: str) -> bool:
    return await metric(url, "aionotify_streams") == 0
