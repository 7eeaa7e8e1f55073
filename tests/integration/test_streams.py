"""Streams under settings, limits and a main host that fails."""

import asyncio
import re

from tests.harness import MainHost, Mode, RedisServer, SSEClient, eventually
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import ask, metric, publish, received, stream


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


@BOTH_WAYS
async def test_a_heartbeat_is_one_line_that_no_client_takes_for_an_event(serve: Serve) -> None:
    server = await serve({"stream.heartbeat": 0.1, "stream.retry": 1234})
    async with stream(server, "42") as client:
        await eventually(lambda: client.heartbeats >= 3)
        assert client.retry == 1234
        assert b"\n\n\r\n" + b"2\r\n:\n\r\n" * 3 in client.raw


@BOTH_WAYS
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


@BOTH_WAYS
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


@BOTH_WAYS
async def test_a_request_behind_a_stream_on_the_same_connection_has_to_be_sent_again(
    serve: Serve, main_host: MainHost
) -> None:
    """The connection ends with the stream, and no frame or answer comes after its end."""
    main_host.answers["short"] = {"user_id": "42", "expires_in": 2}
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
