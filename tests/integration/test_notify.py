"""From PUBLISH to the browser: who gets what, and how the stream looks on the wire."""

import asyncio
import json
import re

from redis import Redis

from tests.harness import MainHost, Mode, RedisServer, SSEClient, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import CHANNEL, ask, messages, metric, publish, received, stream


async def test_an_event_reaches_all_streams_of_its_recipient_and_no_other(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
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
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
    async with stream(server, "1") as one, stream(server, "2") as two, stream(server, "3") as three:
        publish(redis_server, {"recipient_id": "*", "n": 1})
        publish(redis_server, {"recipient_id": [1, "2", "absent"], "n": 2})
        publish(redis_server, {"recipient_id": "*", "n": 3})
        for_all = {"recipient_id": "*", "n": 1}, {"recipient_id": "*", "n": 3}
        assert await received(one, 3) == [for_all[0], {"recipient_id": 1, "n": 2}, for_all[1]]
        assert await received(two, 3) == [for_all[0], {"recipient_id": "2", "n": 2}, for_all[1]]
        assert await received(three, 2) == list(for_all)
        assert b"absent" not in bytes(one.raw + two.raw + three.raw)


async def test_what_is_published_once_the_status_is_seen_arrives(
    serve: Serve, redis_server: RedisServer
) -> None:
    """No event falls between the answer and the beginning of the stream."""
    server = await serve()
    for n in range(30):
        async with stream(server, str(n)) as client:
            publish(redis_server, {"recipient_id": str(n), "n": n})
            assert await received(client, 1) == [{"recipient_id": str(n), "n": n}]


async def test_one_connection_subscribes_whatever_the_number_of_streams(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"server.max_streams_per_user": 0})
    clients = [stream(server, str(n % 20)) for n in range(60)]
    await asyncio.gather(*(client.connect() for client in clients))
    kinds = re.findall(r"flags=(\S+)", redis_server.cli("CLIENT", "LIST"))
    subscribers = [flags for flags in kinds if "P" in flags]
    assert len(subscribers) == 1
    assert await metric(server, "aionotify_streams") == 60
    assert len(redis_server.cli("PUBSUB", "CHANNELS", "aionotify:{*}*")) == 21  # and everyone
    for client in clients:
        await client.close()
    await eventually(lambda: len(redis_server.cli("PUBSUB", "CHANNELS", "aionotify:{*}*")) == 1)


async def test_the_head_says_that_this_is_a_stream_that_nobody_may_keep(serve: Serve) -> None:
    server = await serve()
    async with stream(server, "42") as client:
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store, no-transform"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["x-content-type-options"] == "nosniff"
        assert client.headers["transfer-encoding"] == "chunked"
        assert "connection" not in client.headers  # forbidden in HTTP/2
        await client.wait_events(1)
        assert client.retry == 3000
        assert client.events[0].event == "aionotify.open"
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", client.events[0].id)


async def test_a_heartbeat_is_one_line_that_no_client_takes_for_an_event(serve: Serve) -> None:
    server = await serve({"stream.heartbeat": 0.1, "stream.retry": 1234})
    async with stream(server, "42") as client:
        await eventually(lambda: client.heartbeats >= 3)
        assert client.retry == 1234
        assert bytes(client.raw).endswith(b"\n\n\r\n" + b"2\r\n:\n\r\n" * client.heartbeats)


async def test_an_http_1_0_client_gets_the_stream_without_chunks(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"stream.heartbeat": 0.1})
    async with stream(server, "42", version="1.0") as client:
        assert "transfer-encoding" not in client.headers
        assert client.headers.get("connection", "close") == "close"
        for n in range(3):
            publish(redis_server, {"recipient_id": ["42"], "n": n})
        assert [event["n"] for event in await received(client, 3)] == [0, 1, 2]
        await eventually(lambda: client.heartbeats)
        assert b"\r\n" not in client.raw


async def test_a_burst_to_one_stream_arrives_in_order_in_chunks_that_add_up(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
    events = [{"recipient_id": "42", "n": n, "text": "é" * (n % 50)} for n in range(500)]
    async with stream(server, "42") as new, stream(server, "42", version="1.0") as old:
        with Redis(port=redis_server.port) as client, client.pipeline(transaction=False) as burst:
            for event in events:
                burst.publish(CHANNEL, json.dumps(event))
            burst.execute()
        assert await received(new, 500) == events
        assert await received(old, 500) == events


async def test_head_has_the_heads_of_a_stream_and_takes_no_slot(serve: Serve) -> None:
    server = await serve({"server.max_streams_per_user": 1})
    async with stream(server, "42") as client:
        answer = await ask(server, method="HEAD", token="token-42")
        assert (answer.status, answer.body) == (200, b"")
        for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering"):
            assert answer.headers[name] == client.headers[name.lower()]
        assert await metric(server, "aionotify_streams") == 1
    refused = await ask(server, method="HEAD")
    assert (refused.status, refused.body) == (403, b"")


async def test_another_method_is_405_and_told_which_there_are(serve: Serve) -> None:
    server = await serve()
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


async def test_another_path_is_404(serve: Serve) -> None:
    server = await serve()
    for path in ("/", "/notify/", "/Notify", "/notify/ticket/x", "/../notify%00", "/streams/"):
        answer = await ask(server, path, token="token-42")
        assert (answer.status, answer.code) == (404, "not_found"), path


async def test_who_may_not_listen_is_told_why_and_what_to_send(serve: Serve) -> None:
    server = await serve()
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


async def test_a_main_host_that_fails_is_no_refusal(serve: Serve, main_host: MainHost) -> None:
    server = await serve({"auth.main_host.timeout": 0.3})
    main_host.delay = 1
    for mode, status, code in (
        (Mode.ERROR, 502, "auth_failed"),
        (Mode.NONSENSE, 502, "auth_failed"),
        (Mode.SLOW, 504, "auth_unavailable"),
        (Mode.DOWN, 504, "auth_unavailable"),
    ):
        main_host.mode = mode
        answer = await ask(server, token=f"token-{mode.name}")
        assert (answer.status, answer.code) == (status, code)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "WWW-Authenticate" not in answer.headers
    main_host.mode = Mode.OK
    await eventually(lambda: _opens(server.url, "token-DOWN"), timeout=15)


async def _opens(url: str, token: str) -> bool:
    async with SSEClient(f"{url}/notify", token=token) as client:
        return client.status == 200


async def test_too_many_streams_are_told_to_come_back_later(serve: Serve) -> None:
    server = await serve({"server.max_streams": 3, "server.max_streams_per_user": 2})
    async with stream(server, "1") as first, stream(server, "1"):
        answer = await ask(server, token="token-1")
        assert (answer.status, answer.code) == (429, "too_many_streams")
        assert int(answer.headers["Retry-After"]) >= 1
        async with stream(server, "2") as other:
            assert other.status == 200
            answer = await ask(server, token="token-3")
            assert (answer.status, answer.code) == (503, "node_full")
            assert int(answer.headers["Retry-After"]) >= 1
        await first.close()  # gives its slot back
        await eventually(lambda: _opens(server.url, "token-1"))


async def test_a_full_node_asks_nobody_who_it_is(serve: Serve, main_host: MainHost) -> None:
    server = await serve({"server.max_streams": 1})
    async with stream(server, "1"):
        asked = len(main_host.asked)
        for n in range(20):
            assert (await ask(server, token=f"token-new-{n}")).code == "node_full"
        assert len(main_host.asked) == asked


async def test_a_server_asks_the_main_host_once_for_many_streams_of_a_token(
    serve: Serve, main_host: MainHost
) -> None:
    server = await serve()
    clients = [stream(server, "42") for _ in range(10)]
    await asyncio.gather(*(client.connect() for client in clients))
    assert [client.status for client in clients] == [200] * 10
    assert main_host.asked_about == {"token-42": 1}
    for client in clients:
        await client.close()


async def test_a_client_that_takes_the_head_in_bytes_gets_the_first_frame_at_once(
    serve: Serve,
) -> None:
    """The first byte comes at once, heartbeat or not."""
    server = await serve({"stream.heartbeat": 90})
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with stream(server, "42") as client:
        await client.wait_events(1)
    assert loop.time() - started < 5


async def test_no_last_event_id_is_an_error_and_a_foreign_one_is_told_as_a_gap(
    serve: Serve,
) -> None:
    """An EventSource would never come back after a status other than 200."""
    server = await serve()
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


async def test_a_request_behind_a_stream_on_the_same_connection_has_to_be_sent_again(
    serve: Serve, main_host: MainHost
) -> None:
    """The connection ends with the stream, and no frame or answer comes after its end."""
    main_host.answers["short"] = {"user_id": "42", "expires_in": 1}
    server = await serve()
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer short\r\n\r\n"
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    async with asyncio.timeout(10):
        content = await reader.read()
    writer.close()
    assert b"aionotify.expired" in content
    assert content.endswith(b"0\r\n\r\n")
    assert content.count(b"HTTP/1.1") == 1


async def test_a_body_with_the_request_does_no_harm(serve: Serve) -> None:
    server = await serve()
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
