"""What is written down: one line when a stream opens, one when it ends, and no secret ever."""

import asyncio
import json
import re

from tests.harness import MainHost, Mode, RedisServer, SSEClient, eventually
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import ask, publish, received, stream

SECRET = "s3cr3t"  # part of everything that nobody may see


@BOTH_WAYS
async def test_a_stream_is_one_line_at_its_start_and_one_at_its_end(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({"log.format": "json"})
    async with stream(server, "42") as client:
        for n in range(3):
            publish(redis_server, {"recipient_id": "42", "n": n})
        await received(client, 3)
    await eventually(lambda: any("stream closed" in line for line in server.logs))
    lines = [json.loads(line) for line in server.logs]
    opened, closed = (line for line in lines if line["logger"] == "aionotify.web.open_stream")
    assert opened["message"] == "stream opened"
    assert opened["fields"].items() >= {"user": "42", "start": "fresh"}.items()
    assert closed["message"] == "stream closed"
    assert closed["fields"].items() >= {"user": "42", "reason": "gone", "events": 3}.items()
    assert 0 <= closed["fields"]["seconds"] < 60
    assert opened["fields"]["request"] == closed["fields"]["request"]


async def test_the_same_in_text_whatever_the_user_is_called(
    serve: Serve, main_host: MainHost
) -> None:
    main_host.answers["odd"] = {"user_id": 'a "b" = c\u2028d'}
    server = await serve()
    async with SSEClient(f"{server.url}/notify", token="odd") as client:
        assert client.status == 200
    await eventually(lambda: any("stream closed" in line for line in server.logs))
    opened, closed = (line for line in server.logs if "aionotify.web.open_stream" in line)
    assert re.search(
        r'INFO aionotify\.web\.open_stream: stream opened user="a \\"b\\" = c\\\\u2028d"', opened
    )
    assert re.search(r" reason=gone seconds=[0-9.]+ events=0$", closed)


async def test_no_token_ticket_key_or_query_is_ever_written_down(
    serve: Serve, main_host: MainHost, redis_server: RedisServer
) -> None:
    """Whatever a client does, at the level that tells most."""
    key = f"publisher-key-{SECRET}"
    server = await serve(
        {
            "log.level": "debug",
            "admin.publish_keys": [key],
            "auth.cookie": "sid",
            "auth.revalidate": 1,
            "auth.main_host.timeout": 0.3,
            "auth.main_host.cache_ttl": 0,
            "stream.heartbeat": 0.2,
        }
    )
    token = f"token-{SECRET}"
    main_host.answers[token] = {"user_id": "42"}
    ticket = (await ask(server, "/notify/ticket", "POST", token=token)).json["ticket"]
    bearer = {"Authorization": f"Bearer {token}"}
    answers = [
        await ask(server, token=f"unknown-{SECRET}"),
        await ask(server, headers={"Authorization": f"Basic {SECRET}"}),
        await ask(server, headers={"Cookie": f"sid={SECRET}"}),
        await ask(server, f"/notify?ticket={SECRET}"),
        await ask(server, f"/notify?ticket={'x' * 37}{SECRET}"),
        await ask(server, f"/notify?token={SECRET}&access_token={SECRET}"),
        await ask(server, f"/nowhere?{SECRET}", headers=bearer),
        await ask(server, "/publish", "POST", token=f"{key}x", data=b"{}"),
        await ask(server, "/publish", "POST", token=key, data=f'{{"x": "{SECRET}"'.encode()),
        await ask(server, f"/presence?recipient_id={SECRET}\x01", token=key),
    ]
    cookie = {"Cookie": f"sid={SECRET}", "Referer": f"https://x.example/?{SECRET}"}
    async with SSEClient(f"{server.url}/notify?q={SECRET}", token=token, headers=cookie):
        await eventually(lambda: main_host.asked_about[token] >= 2)
    async with SSEClient(f"{server.url}/notify?ticket={ticket}") as client:
        assert client.status == 200
    for mode in (Mode.ERROR, Mode.NONSENSE, Mode.SLOW, Mode.DOWN):
        main_host.mode = mode
        answers.append(await ask(server, token=f"{mode.name}-{SECRET}"))
    port = int(server.url.rpartition(":")[2])
    for request in (
        f"GET /notify?ticket={SECRET} HTTP/9.9\r\n\r\n",
        f"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\x01\r\n\r\n",
        f"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET * 2000}\r\n\r\n",
        f"GET /notify?ticket={SECRET} nonsense\r\n\r\n",
        f"{SECRET}\r\n\r\n",
        f"GET /notify HTTP/1.1\r\nAuthorization: Bearer {SECRET}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        async with asyncio.timeout(10):
            assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
        writer.close()
    assert await server.terminate() == 0
    seen = "\n".join(server.logs)
    assert "request refused" in seen  # debug level it was
    assert SECRET not in seen
    assert ticket not in seen
    for answer in answers:
        assert SECRET.encode() not in answer.body
    assert all(answer.status >= 400 for answer in answers)
