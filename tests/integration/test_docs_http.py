"""What the docs show of requests and answers is what a server sends."""

import json
import re

from aiohttp import web

import aionotify
from tests.docs.snippets import snippet
from tests.embedded import embedded
from tests.harness import MainHost, RedisServer, SSEClient, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, stream

KEY = "publisher-key-0123456789"


async def test_the_main_host_is_asked_as_the_page_says(serve: Serve, main_host: MainHost) -> None:
    first, *headers = snippet("docs/authentication.rst", "is_user_auth/ HTTP/1.1").splitlines()
    server = await serve()
    async with stream(server, "42") as client:
        assert client.status == 200
    [asked] = main_host.asked
    assert first == f"{asked.method} {asked.path} HTTP/1.1"
    for line in headers:
        name, _, value = line.partition(": ")
        assert asked.headers[name] == value.replace("<the client's token>", "token-42")


async def test_a_frame_is_what_the_page_shows(serve: Serve) -> None:
    """But for the id, which nobody is to understand."""
    shown = snippet("docs/protocol.rst", "id: 2.").splitlines()
    server = await serve({"admin.publish_keys": [KEY]})
    async with stream(server, "42") as client:
        event = shown[1].removeprefix("data: ").encode()
        assert (await ask(server, "/publish", "POST", token=KEY, data=event)).status == 202
        [_, event_sent] = await client.wait_events(2)
    sent = [f"event: {event_sent.event}", f"data: {event_sent.data}", f"id: {event_sent.id}"]
    assert sent[:2] == shown[:2]
    assert [len(part) for part in sent[2].split(".")] == [len(part) for part in shown[2].split(".")]


async def test_an_error_is_what_the_page_shows(serve: Serve) -> None:
    shown = json.loads(snippet("docs/protocol.rst", '"invalid_event"'))
    server = await serve({"admin.publish_keys": [KEY]})
    wrong = b'{"recipient_id": "42", "event": null}'
    answer = (await ask(server, "/publish", "POST", token=KEY, data=wrong)).json
    assert shown["error"].pop("message") == "…"
    assert answer["error"].pop("message")
    assert answer == shown


async def test_an_application_that_drains_answers_as_the_page_shows(
    redis_server: RedisServer,
) -> None:
    head, body = snippet("docs/protocol.rst", "HTTP/1.1 200 OK").split("\n\n")
    apps: list[web.Application] = []
    async with embedded(redis_server.url, apps.append) as (url, _):
        await aionotify.drain(apps[0], seconds=1)
        answer = await ask(url, token="token-42")
    status, *headers = head.splitlines()
    assert status == f"HTTP/1.1 {answer.status} OK"
    for line in headers:
        name, _, value = line.partition(": ")
        assert answer.headers[name] == value
    number = re.compile(r"\d+")
    assert number.sub("N", answer.body.decode()) == number.sub("N", f"{body}\n")


async def test_readiness_is_told_as_the_page_shows(serve: Serve, own_redis: RedisServer) -> None:
    """While Redis is full."""
    shown = json.loads(" ".join(snippet("docs/operations.rst", '"ready": true').split()))
    server = await serve({"redis.url": own_redis.url})
    own_redis.cli("CONFIG", "SET", "maxmemory", "1")

    async def full() -> bool:
        return not (await ask(server, "/readyz")).json["checks"]["store"]["ok"]

    await eventually(full)
    assert (await ask(server, "/readyz")).json == shown


async def test_a_line_of_the_log_is_what_the_page_shows(serve: Serve) -> None:
    """But for the values."""
    shown = " ".join(snippet("docs/operations.rst", "stream closed user=42").split())
    server = await serve()
    async with SSEClient(f"{server.url}/notify", token="token-42") as client:
        await client.wait_events(1)
    await eventually(lambda: any("stream closed" in line for line in server.logs))
    [line] = [line for line in server.logs if "stream closed" in line]
    pattern = re.compile(r"=\S+|^\S+")
    assert pattern.sub("=", line) == pattern.sub("=", shown)
    assert len(line.split()[0]) == len(shown.split()[0])
