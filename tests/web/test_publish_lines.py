"""POST /publish line by line: each event is answered in its turn, whatever became of the others."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

import aionotify
from aionotify import Config, Identity, create_app
from aionotify.web import publish_lines
from aionotify.web.services import SERVICES, Services
from tests.harness import RedisServer, eventually
from tests.harness.wait import PATIENCE

KEY = "publisher-key-0123456789"
SCOPED = "scoped-key-0123456789"
MAX_BYTES = 2000


class Nobody:
    async def authenticate(self, request: web.Request) -> Identity:
        raise NotImplementedError


class Node:
    def __init__(
        self,
        redis: RedisServer,
        app: web.Application,
        port: int,
        config: Callable[..., Config],
    ) -> None:
        self.redis, self.app, self.port, self.config = redis, app, port, config
        self.services: Services = app[SERVICES]

    def stored(self, user: str) -> list[Any]:
        entries = self.redis.cli("LRANGE", f"aionotify:{{{user}}}:inbox", 0, -1)
        return [json.loads(entry.split(" ", 2)[2]).get("data") for entry in entries]


class Producer:
    """A request that stays open, in the raw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._text = b""

    async def head(self) -> str:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode()

    def send(self, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        self.writer.write(b"0\r\n\r\n")

    async def answers(self, count: int) -> list[Any]:
        while self._text.count(b"\n") < count:
            self._text += await self._chunk()
        *lines, self._text = self._text.split(b"\n", count)
        return [json.loads(line) for line in lines]

    async def end(self) -> bytes:
        """What is left, up to the end of the answer."""
        while chunk := await self._chunk():
            self._text += chunk
        return self._text

    async def _chunk(self) -> bytes:
        size = int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), PATIENCE), 16)
        return (await asyncio.wait_for(self.reader.readexactly(size + 2), PATIENCE))[:-2]


@asynccontextmanager
async def producing(
    node: Node, *, key: str = KEY, query: str = "", headers: str = "", slow: bool = False
) -> AsyncIterator[Producer]:
    sock = socket.socket()
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", node.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=2**10 if slow else 2**16)
    try:
        writer.write(
            f"POST /publish{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Accept: application/x-ndjson\r\n"
            f"{headers or 'Transfer-Encoding: chunked' + chr(13) + chr(10)}\r\n".encode()
        )
        yield Producer(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with AsyncExitStack() as running:

        async def start(redis: RedisServer, **admin: Any) -> Node:
            keys = [KEY, {"key": SCOPED, "recipients": "shop:"}]

            def config(**admin: Any) -> Config:
                return Config.from_mapping(
                    {
                        "redis": {"url": redis.url},
                        "admin": {"publish_keys": keys, **admin},
                        "events": {"max_bytes": MAX_BYTES},
                        "server": {"drain": 0},
                    }
                )

            app = create_app(config(**admin), Nobody())
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            running.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            return Node(redis, app, runner.addresses[0][1], config)

        yield start


@pytest.fixture
async def node(start: Start, redis_server: RedisServer) -> Node:
    node: Node = await start(redis_server)
    return node


def line(recipient: object, data: object, **more: object) -> str:
    return json.dumps({"recipient_id": recipient, "data": data} | more) + "\n"


async def test_each_event_is_answered_while_the_request_goes_on(node: Node) -> None:
    async with producing(node) as producer:
        head = await producer.head()
        assert head.startswith("HTTP/1.1 200 ")
        assert "Content-Type: application/x-ndjson\r\n" in head
        for number in range(3):
            producer.send(line("u", number))
            [answer] = await producer.answers(1)
            assert answer == {"status": 202, "event_id": answer["event_id"], "online": False}
            assert node.stored("u") == list(range(number + 1))
        producer.finish()
        assert await producer.end() == b""
        assert len(node.services.publish_streams) == node.services.publish_bytes.held == 0


async def test_thousands_are_answered_in_their_order(node: Node) -> None:
    """However they are cut into packets, with blank lines, and without an end of the last."""
    async with producing(node) as producer:
        text = "\r\n".join(
            ["", *(line(f"u{n % 50}", n).strip() for n in range(3000)), "", line("u", 0)]
        )
        for begin in range(0, len(text), 7001):
            producer.send(text.strip()[begin : begin + 7001])
        producer.finish()
        await producer.head()
        answers = await producer.answers(3001)
        assert {answer["status"] for answer in answers} == {202}
        positions = [int(answer["event_id"].partition(".")[2], 16) for answer in answers]
        for user in range(50):
            assert node.stored(f"u{user}") == list(range(user, 3000, 50))
            assert positions[user:3000:50] == sorted(positions[user:3000:50])
        assert node.stored("u") == [0]
        assert await producer.end() == b""


BAD = [
    ("x", 400, "body"),
    ("[]", 400, "body"),
    ('{"data": 1}', 400, "recipient_id"),
    ('{"recipient_id": "u", "event": "open"}', 400, "event"),
    (json.dumps({"recipient_id": "u", "data": "x" * MAX_BYTES}), 400, "body"),
    ("x" * 100_000, 400, "body"),
    ('{"recipient_id": "else"}', 403, None),
    ("\N{NO-BREAK SPACE}", 400, "body"),
]


@pytest.mark.parametrize(("text", "status", "field"), BAD, ids=range(len(BAD)))
async def test_a_bad_line_is_answered_with_its_error_and_the_rest_goes_on(
    node: Node, text: str, status: int, field: str | None
) -> None:
    async with producing(node, key=SCOPED) as producer:
        producer.send(line("shop:1", 1) + text + "\n" + line("shop:1", 2))
        producer.finish()
        await producer.head()
        first, bad, last = await producer.answers(3)
        assert (first["status"], bad["status"], last["status"]) == (202, status, 202)
        assert list(bad["error"].get("fields", [None])) == [field]
        assert node.stored("shop:1") == [1, 2]


async def test_a_list_of_recipients_has_an_answer_for_each(node: Node) -> None:
    node.redis.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    async with producing(node) as producer:
        producer.send(line(["a", "b"], 1) + line(["a", "bad"], 2))
        await producer.head()
        good, partly = await producer.answers(2)
        assert good["status"] == 202
        assert list(good["recipients"]) == ["a", "b"]
        assert (partly["status"], partly["error"]["code"]) == (503, "redis_unavailable")
        assert list(partly["recipients"]) == ["a", "bad"]
        assert "event_id" in partly["recipients"]["a"]
        producer.finish()
        await producer.end()


async def test_ephemeral_events_have_no_id(node: Node) -> None:
    async with producing(node, query="?ephemeral=true") as producer:
        producer.send(line("u", 1) + line("u", 2, id="once"))
        producer.finish()
        await producer.head()
        first, second = await producer.answers(2)
        assert first == {"status": 202, "online": False}
        assert (second["status"], list(second["error"]["fields"])) == (400, ["id"])
        assert node.stored("u") == []


@pytest.mark.parametrize(
    ("keys", "status", "code"),
    [
        (["another-key-0123456789"], 401, "invalid_token"),
        ([{"key": KEY, "rights": ["presence"]}], 403, "forbidden"),
        ([], 403, "forbidden"),
    ],
    ids=["no key", "without the right", "no keys at all"],
)
async def test_a_key_that_a_reload_takes_away_publishes_nothing_more(
    node: Node, keys: list[object], status: int, code: str
) -> None:
    """The producer is told so in one line, and the request ends."""
    async with producing(node) as producer:
        producer.send(line("u", 1))
        await producer.head()
        assert [answer["status"] for answer in await producer.answers(1)] == [202]
        await aionotify.reload(node.app, node.config(publish_keys=keys))
        producer.send(line("u", 2) + line("u", 3))
        refused = json.loads(await producer.end())
        assert (refused["status"], refused["error"]["code"]) == (status, code)
        assert await asyncio.wait_for(producer.reader.read(), PATIENCE) == b""
        assert node.stored("u") == [1]
        assert node.services.stats.refused[code] == 1


async def test_a_key_that_a_reload_limits_is_limited_at_once(node: Node) -> None:
    async with producing(node) as producer:
        keys = [{"key": KEY, "recipients": "shop:"}]
        await producer.head()
        await aionotify.reload(node.app, node.config(publish_keys=keys))
        producer.send(line("u", 1) + line("shop:1", 2))
        assert [answer["status"] for answer in await producer.answers(2)] == [403, 202]
        producer.finish()
        await producer.end()


async def test_lines_for_many_recipients_are_held_in_portions_and_counted(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them come together: what is answered is far more than what was sent."""
    publisher, bytes_ = node.services.publisher, node.services.publish_bytes
    publish_checked, seen = publisher.publish_checked, list[tuple[int, int]]()

    async def watched(events: Any, **options: Any) -> Any:
        seen.append((sum(len(event.recipients) for event in events), bytes_.held))
        return await publish_checked(events, **options)

    monkeypatch.setattr(publisher, "publish_checked", watched)
    async with producing(node) as producer:
        await producer.head()
        open_ = bytes_.held
        producer.send(line([f"{n}" for n in range(250)], 1) * 40)
        assert {answer["status"] for answer in await producer.answers(40)} == {202}
        assert sum(count for count, _ in seen) == 10_000
        assert max(count for count, _ in seen) < 4250
        assert all(held - open_ >= 1024 * count for count, held in seen)
        await eventually(lambda: bytes_.held == open_)
        producer.finish()
        await producer.end()


async def test_a_line_for_which_there_is_no_room_is_told_so_and_a_later_one_is_published(
    start: Start, redis_server: RedisServer
) -> None:
    node = await start(redis_server, max_publish_bytes=2**20)
    async with producing(node) as producer:
        await producer.head()
        with node.services.publish_bytes.request() as another:
            another.add(2**20 - node.services.publish_bytes.held - 5000)
            producer.send(line(["a", "b", "c", "d", "e"], 1) + line("bad\n", 1))
            full, bad = await producer.answers(2)
            assert (full["status"], full["error"]["code"]) == (503, "publish_overloaded")
            assert bad["status"] == 400
        producer.send(line(["a", "b", "c", "d", "e"], 2))
        assert [answer["status"] for answer in await producer.answers(1)] == [202]
        assert node.stored("a") == [2]
        producer.finish()
        await producer.end()


async def test_a_producer_without_a_key_is_refused_before_it_sends_anything(node: Node) -> None:
    async with producing(node, key="nobody's") as producer:
        assert (await producer.head()).startswith("HTTP/1.1 403 ")
        producer.finish()


async def test_without_redis_each_event_is_503_until_it_is_back(
    start: Start, own_redis: RedisServer
) -> None:
    node = await start(own_redis)
    async with producing(node) as producer:
        await producer.head()
        own_redis.stop()
        producer.send(line("u", 0, id="k"))
        [answer] = await producer.answers(1)
        assert (answer["status"], answer["error"]["code"]) == (503, "redis_unavailable")
        own_redis.start()
        number = 0
        while answer["status"] != 202:
            number += 1
            producer.send(line("u", number, id="k"))
            [answer] = await producer.answers(1)
        assert node.stored("u") == [number]
        producer.finish()
        await producer.end()


async def test_a_node_that_leaves_answers_what_it_has_read_and_ends_the_request(
    node: Node,
) -> None:
    async with producing(node) as producer:
        producer.send(line("u", 1) + '{"recipient_id": "u", "da')
        await producer.head()
        assert [answer["status"] for answer in await producer.answers(1)] == [202]
        await aionotify.drain(node.app, 0)
        assert await producer.end() == b""
        assert node.stored("u") == [1]


async def test_a_request_that_comes_while_the_node_leaves_ends_at_once(node: Node) -> None:
    """Its producer goes on at another node."""
    await aionotify.drain(node.app, 0)
    async with producing(node) as producer:
        producer.send(line("u", 1))
        assert (await producer.head()).startswith("HTTP/1.1 200 ")
        assert await producer.end() == b""
    assert node.stored("u") == []


async def test_a_producer_that_reads_no_answers_is_cut_off(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publish_lines, "_ANSWER_SECONDS", 0.2)
    async with producing(node, slow=True) as producer:

        async def send() -> None:
            while True:
                producer.send("x\n" * 5000)
                await producer.writer.drain()

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(send(), PATIENCE)
        await eventually(lambda: node.services.publish_bytes.held == 0)
        text = "answers to a producer not read"
        await eventually(lambda: any(text in each for each in caplog.messages))


async def test_a_producer_that_stalls_in_a_line_holds_its_bytes_and_nobody_up(
    node: Node,
) -> None:
    """What it has sent before is answered, and the line when its rest comes."""
    text = line("u", 2)
    async with producing(node) as stalled, producing(node) as other:
        stalled.send(line("u", 1) + text[:10])
        await stalled.head()
        assert [answer["status"] for answer in await stalled.answers(1)] == [202]
        await other.head()
        for number in range(100):
            other.send(line("v", number))
            assert [answer["status"] for answer in await other.answers(1)] == [202]
        assert node.stored("u") == [1]
        stalled.send(text[10:])
        assert [answer["status"] for answer in await stalled.answers(1)] == [202]
        assert node.stored("u") == [1, 2]


@pytest.mark.parametrize(
    ("headers", "rest"),
    [("", b"zz\r\n"), ("", b"5\r\nabcdefgh\r\n"), ("Content-Length: 1000\r\n", b"")],
    ids=["no size", "a wrong size", "a body that is shorter"],
)
async def test_a_body_that_lies_is_of_no_use_and_what_came_before_is_answered(
    node: Node, headers: str, rest: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with producing(node, headers=headers) as producer:
        await producer.head()
        if headers:
            producer.writer.write(line("u", 1).encode())
        else:
            producer.send(line("u", 1))
        assert [answer["status"] for answer in await producer.answers(1)] == [202]
        producer.writer.write(rest + line("u", 2).encode()[:-1])
    await eventually(lambda: node.services.publish_bytes.held == 0)
    assert len(node.services.publish_streams) == 0
    assert node.stored("u") == [1]
    assert caplog.messages == []


async def test_producers_whose_buffers_are_too_many_bytes_together_are_refused(
    start: Start, redis_server: RedisServer
) -> None:
    node = await start(redis_server, max_publish_bytes=2**20)
    async with AsyncExitStack() as stack:
        producers = [await stack.enter_async_context(producing(node)) for _ in range(20)]
        heads = [await producer.head() for producer in producers]
        assert {head.split()[1] for head in heads} == {"200", "503"}
        for producer in producers:
            producer.finish()
