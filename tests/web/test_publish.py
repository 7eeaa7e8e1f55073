"""POST /publish: what is answered is what is stored."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aionotify import Config, Identity, create_app
from aionotify.web.publish_bytes import PublishBytes
from aionotify.web.services import SERVICES
from tests.harness import RedisServer, TcpProxy, eventually

KEY = "publisher-key-0123456789"
SCOPED = "scoped-key-0123456789"


class Nobody:
    async def authenticate(self, request: web.Request) -> Identity:
        raise NotImplementedError


@dataclass
class Node:
    """A node in this process, and the Redis behind it."""

    redis: RedisServer
    url: str
    session: aiohttp.ClientSession
    bytes: PublishBytes

    async def post(
        self, body: object, *, key: str | None = KEY, query: str = ""
    ) -> tuple[int, Any]:
        """Publish JSON, or text as it is; return the status and the answer."""
        data = body if isinstance(body, str | bytes) else json.dumps(body)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.session.post(self.url + query, data=data, headers=headers) as response:
            self.headers = response.headers
            return response.status, await response.json()

    def stored(self, user: str) -> list[Any]:
        entries = self.redis.cli("LRANGE", f"aionotify:{{{user}}}:inbox", 0, -1)
        return [json.loads(entry.split(" ", 2)[2]).get("data") for entry in entries]


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as running:

        async def start(
            redis: RedisServer, url: str = "", *, max_bytes: int = 2000, **admin: Any
        ) -> Node:
            keys = [KEY, {"key": SCOPED, "recipients": "shop:"}]
            config = {
                "redis": {"url": url or redis.url},
                "admin": {"publish_keys": keys, **admin},
                "events": {"max_bytes": max_bytes},
            }
            app = create_app(Config.from_mapping(config), Nobody())
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            running.push_async_callback(runner.cleanup)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            session = await running.enter_async_context(aiohttp.ClientSession())
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/publish"
            return Node(redis, url, session, app[SERVICES].publish_bytes)

        yield start


@pytest.fixture
async def node(start: Start, redis_server: RedisServer) -> Node:
    node: Node = await start(redis_server)
    return node


async def test_one_event_has_one_answer(node: Node) -> None:
    """202, with its cursor and whether its recipient is online."""
    status, answer = await node.post({"recipient_id": 42, "data": 1})
    assert (status, answer) == (202, {"event_id": answer["event_id"], "online": False})
    assert node.stored("42") == [1]


@pytest.mark.parametrize(
    "body",
    [
        [{"recipient_id": "u", "data": n} for n in range(3)],
        "".join(f'{{"recipient_id": "u", "data": {n}}}\n' for n in range(3)),
        "\r\n".join(["", *(f'{{"recipient_id":"u","data":{n}}}\r\n' for n in range(3))]).strip(
            "\r"
        ),
    ],
)
async def test_several_events_have_answers_in_their_order(node: Node, body: object) -> None:
    """An array or NDJSON."""
    status, answers = await node.post(body)
    assert status == 202
    ids = [answer["event_id"] for answer in answers]
    assert ids == sorted(set(ids))
    assert node.stored("u") == [0, 1, 2]


async def test_an_ephemeral_event_is_not_stored_and_has_no_id(node: Node) -> None:
    body = [{"recipient_id": 42, "data": 1}, {"recipient_id": ["a", "b"]}]
    status, answer = await node.post(body, query="?ephemeral=true")
    nobody = {"online": False}
    assert (status, answer) == (202, [nobody, nobody | {"recipients": {"a": nobody, "b": nobody}}])
    assert node.redis.cli("KEYS", "aionotify:{*") == []


@pytest.mark.parametrize(
    ("query", "event", "field"),
    [
        ("?ephemeral=1", {}, "ephemeral"),
        ("?ephemeral=", {}, "ephemeral"),
        ("?ephemeral=true", {"id": "once"}, "id"),
    ],
)
async def test_what_is_said_of_an_ephemeral_event_must_be_clear(
    node: Node, query: str, event: dict[str, str], field: str
) -> None:
    status, answer = await node.post({"recipient_id": 42} | event, query=query)
    assert (status, list(answer["error"]["fields"])) == (400, [field])


async def test_an_array_of_one_is_answered_with_an_array(node: Node) -> None:
    status, answers = await node.post([{"recipient_id": "u"}])
    assert (status, len(answers)) == (202, 1)


async def test_a_thousand_events_are_one_request(node: Node) -> None:
    """And 1,001 are too many."""
    events = [{"recipient_id": str(number % 10)} for number in range(1001)]
    status, answers = await node.post(events[:1000])
    assert (status, len(answers)) == (202, 1000)
    status, answer = await node.post(events)
    assert (status, answer["error"]["code"]) == (400, "invalid_event")
    assert "at most 1000" in answer["error"]["fields"]["body"]


async def test_a_list_of_recipients_has_an_answer_for_each(node: Node) -> None:
    status, answer = await node.post({"recipient_id": ["a", "b"], "data": 1})
    assert status == 202
    assert answer["recipients"].keys() == {"a", "b"}
    assert answer["recipients"]["a"].keys() == {"event_id", "online"}
    assert node.stored("a") == node.stored("b") == [1]


async def test_the_same_key_answers_the_same_cursor(node: Node) -> None:
    _, first = await node.post({"recipient_id": "u", "id": "k", "data": 1})
    status, again = await node.post({"recipient_id": "u", "id": "k", "data": 2})
    assert (status, again["event_id"]) == (202, first["event_id"])
    assert node.stored("u") == [1]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "recipient_id"),
        ({"recipient_id": "u", "event": "open"}, "event"),
        ([{"recipient_id": "u"}, {"recipient_id": []}], "[1].recipient_id"),
        ('{"recipient_id":"u"}\n{"recipient_id":"u","id":5}', "[1].id"),
        ("", "body"),
        ("[]", "body"),
        ("[1", "body"),
        ("nonsense", "body"),
        (b'{"recipient_id":"\xff"}', "body"),
        ({"recipient_id": "u", "data": "x" * 2000}, "body"),
        ({"recipient_id": "u", "event": "aionotify.gap", "reason": "lost"}, "event"),
    ],
)
async def test_a_bad_event_is_explained_and_nothing_is_stored(
    node: Node, body: object, field: str
) -> None:
    """Not even the good ones beside it: what a batch did is never half known."""
    status, answer = await node.post(body)
    assert (status, answer["error"]["code"]) == (400, "invalid_event")
    assert field in answer["error"]["fields"]
    assert node.redis.cli("KEYS", "aionotify:{*") == []


async def test_a_body_is_bounded(node: Node) -> None:
    status, answer = await node.post(b" " * 33000)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    assert "more than 32000 bytes" in answer["error"]["message"]


async def test_requests_that_are_too_many_bytes_together_are_503_and_store_nothing(
    start: Start, redis_server: RedisServer
) -> None:
    """And are taken again when there is room: their bodies count, and their recipients."""
    node: Node = await start(redis_server, max_bytes=65_536, max_publish_bytes=1 << 20)
    everybody = [f"user-{number}" for number in range(600)]
    complete = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b" " * 600_000
        await complete.wait()
        yield b'{"recipient_id": "user-0", "data": 0}'

    headers = {"Authorization": f"Bearer {KEY}"}
    posting = asyncio.create_task(node.session.post(node.url, data=body(), headers=headers))
    await eventually(lambda: node.bytes.held == 600_000)
    for many in ({"recipient_id": everybody, "data": 1}, b" " * 600_000):
        status, answer = await node.post(many)
        assert (status, answer["error"]["code"]) == (503, "publish_overloaded")
        assert node.headers["Retry-After"] == "1"
    assert (await node.post({"recipient_id": everybody[:100], "data": 2}))[0] == 202
    complete.set()
    async with await posting as response:
        assert response.status == 202
    assert (await node.post({"recipient_id": everybody, "data": 3}))[0] == 202
    assert node.stored("user-0") == [2, 0, 3]
    assert node.bytes.held == 0


async def test_a_body_counts_no_longer_when_its_client_leaves(node: Node) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 5000
        await asyncio.get_running_loop().create_future()

    headers = {"Authorization": f"Bearer {KEY}"}
    posting = asyncio.create_task(node.session.post(node.url, data=body(), headers=headers))
    await eventually(lambda: node.bytes.held == 5000)
    posting.cancel()
    await eventually(lambda: node.bytes.held == 0)


@pytest.mark.parametrize("body", ["nonsense", {"recipient_id": "u"}, b" " * 33000])
async def test_nothing_is_held_when_a_request_has_its_answer(node: Node, body: object) -> None:
    await node.post(body)
    assert node.bytes.held == 0


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 403, "credentials_missing"),
        ("wrong", 401, "invalid_token"),
        (KEY + "x", 401, "invalid_token"),
    ],
)
async def test_without_a_good_key_nothing_is_published(
    node: Node, key: str | None, status: int, code: str
) -> None:
    answered, answer = await node.post({"recipient_id": "u"}, key=key)
    assert (answered, answer["error"]["code"]) == (status, code)
    assert node.redis.cli("KEYS", "aionotify:{*") == []


async def test_without_any_keys_nobody_may(start: Start, redis_server: RedisServer) -> None:
    node = await start(redis_server, publish_keys=[])
    status, answer = await node.post({"recipient_id": "u"})
    assert (status, answer["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize("recipient", ["u", "*", ["shop:1", "u"], "sho", "SHOP:1"])
async def test_a_key_with_a_prefix_is_for_those_recipients(node: Node, recipient: object) -> None:
    """One recipient beyond it, and nothing of the whole request is published."""
    events = [{"recipient_id": "shop:7"}, {"recipient_id": recipient}]
    status, answer = await node.post(events, key=SCOPED)
    assert (status, answer["error"]["code"]) == (403, "forbidden")
    assert node.redis.cli("KEYS", "aionotify:{*") == []
    assert (await node.post({"recipient_id": ["shop:1", "shop:2"]}, key=SCOPED))[0] == 202


async def test_answer_says_what_was_stored_of_a_list(node: Node) -> None:
    """503, and for each recipient its cursor or its error."""
    node.redis.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    status, answer = await node.post({"recipient_id": ["a", "bad"], "id": "k"})
    assert (status, answer["error"]["code"]) == (503, "redis_unavailable")
    assert "Retry-After" in node.headers
    [result] = answer["error"]["results"]
    assert result["recipients"]["a"]["event_id"]
    assert result["recipients"]["bad"]["error"]["code"] == "redis_unavailable"
    assert len(node.stored("a")) == 1


async def test_answer_says_what_was_stored_of_a_batch(node: Node) -> None:
    node.redis.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    status, answer = await node.post([{"recipient_id": user} for user in ("a", "bad", "b")])
    assert status == 503
    assert [set(result) for result in answer["error"]["results"]] == [
        {"event_id", "online"},
        {"error"},
        {"event_id", "online"},
    ]


@pytest.mark.parametrize(
    ("hurt", "heal"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["out of memory", "too few replicas", "read-only"],
)
async def test_a_redis_that_refuses_is_503_and_nothing_is_half_stored(
    start: Start, own_redis: RedisServer, hurt: tuple[str, ...], heal: tuple[str, ...]
) -> None:
    node = await start(own_redis)
    own_redis.cli(*hurt)
    status, answer = await node.post({"recipient_id": ["a", "b"], "id": "k"})
    assert (status, answer["error"]["code"]) == (503, "redis_unavailable")
    assert node.headers["Retry-After"]
    assert own_redis.cli("KEYS", "aionotify:{*") == []
    own_redis.cli(*heal)
    assert (await node.post({"recipient_id": ["a", "b"], "id": "k"}))[0] == 202
    assert len(node.stored("a")) == len(node.stored("b")) == 1


async def test_a_redis_that_is_gone_is_503(start: Start, own_redis: RedisServer) -> None:
    """And no more than that when it is back."""
    node = await start(own_redis)
    own_redis.stop()
    status, answer = await node.post({"recipient_id": "u", "id": "k"})
    assert (status, answer["error"]["code"]) == (503, "redis_unavailable")
    own_redis.start()
    assert (await node.post({"recipient_id": "u", "id": "k"}))[0] == 202
    assert len(node.stored("u")) == 1


async def test_a_lost_answer_may_be_asked_for_again(start: Start, own_redis: RedisServer) -> None:
    """Redis stored the event, and the connection broke before it could say so: with a key it is
    stored once, however often it takes.
    """
    async with TcpProxy(own_redis.port) as proxy:
        node = await start(own_redis, proxy.url)
        for number in range(10):
            proxy.cut_after(1)
            event = {"recipient_id": "u", "data": number, "id": str(number)}

            async def stored(event: object = event) -> bool:
                status, _ = await node.post(event)
                return bool(status == 202)

            await eventually(stored)
        assert node.stored("u") == list(range(10))


async def test_a_forgotten_script_is_loaded_again_unnoticed(node: Node) -> None:
    for _ in range(2):
        node.redis.cli("SCRIPT", "FLUSH")
        assert (await node.post({"recipient_id": "u"}))[0] == 202
        node.redis.cli("SCRIPT", "FLUSH")
        assert (await node.post([{"recipient_id": "u"}] * 5))[0] == 202
    assert len(node.stored("u")) == 12
