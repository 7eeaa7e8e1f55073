"""The client: what it asks for, when it comes back, and when it gives up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from aionotify import Client, EventTooLong, Publisher, ServerSentEvent, StreamRefused
from tests.harness import MainHost, NotifyServer, RedisServer, eventually, free_port

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\nretry: 100\n"


class Server:
    """Answers the first request with the first of `answers`, and so on; then ends each.

    Who comes after the last is cut off without one. An answer of `None` stays open and silent.
    `requests` are the heads of those that came.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self.requests: list[str] = []
        self.url = ""
        self._answers = list(answers)
        self._end = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notify"
            yield self
            self._end.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        # aiohttp asks once more when it was cut off. Before Python 3.11.7 an error here would leave
        # the connection open.
        answer = self._answers.pop(0) if self._answers else b""
        writer.write(STREAM if answer is None else answer)
        if answer is None:
            await self._end.wait()
        writer.close()

    def header(self, name: str) -> list[str | None]:
        """The value of a header in each request."""
        return [
            next(
                (line[len(name) + 2 :] for line in head.split("\r\n") if line.startswith(name)),
                None,
            )
            for head in self.requests
        ]


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def take(client: Client, count: int) -> list[ServerSentEvent]:
    async with asyncio.timeout(10):
        return [await anext(client) for _ in range(count)]


def waits(caplog: pytest.LogCaptureFixture) -> list[tuple[str, float]]:
    """Reason and wait in seconds of each loss that was logged."""
    found = [
        getattr(r, "fields", {}) for r in caplog.records if r.name == "aionotify.client.client"
    ]
    return [(fields["reason"], fields["wait"]) for fields in found]


async def first_wait(client: Client, caplog: pytest.LogCaptureFixture) -> tuple[str, float]:
    """The first loss that `client` logs, without waiting for what comes after it."""
    task = asyncio.create_task(anext(client), name="taker")
    await eventually(lambda: waits(caplog))
    task.cancel()
    await asyncio.wait([task])
    return waits(caplog)[0]


async def test_the_token_travels_as_a_bearer_token_and_no_cursor_is_made_up() -> None:
    async with Server(STREAM + b"data: 1\n\n").listening() as server:
        async with Client(server.url, token="secret") as client:
            assert await take(client, 1) == [ServerSentEvent("message", "1", "")]
        assert server.header("Authorization") == ["Bearer secret"]
        assert server.header("Accept") == ["text/event-stream"]
        assert server.header("Last-Event-ID") == [None]


async def test_client_comes_back_with_the_last_event_id_when_the_stream_ends() -> None:
    answers = [STREAM + b"id: %d\ndata: %d\n\n" % (n, n) for n in (1, 2, 3)]
    async with Server(*answers).listening() as server, Client(server.url) as client:
        assert [event.data for event in await take(client, 3)] == ["1", "2", "3"]
        assert server.header("Last-Event-ID") == [None, "1", "2"]


async def test_an_event_that_was_cut_in_the_middle_is_not_there() -> None:
    """It comes whole with the next connection, for its id was not taken either."""
    whole = STREAM + b"id: 1\ndata: whole\n\n"
    async with Server(whole + b"id: 2\ndata: ha", whole).listening() as server:
        async with Client(server.url) as client:
            assert [event.data for event in await take(client, 2)] == ["whole", "whole"]
        assert server.header("Last-Event-ID") == [None, "1"]


async def test_client_can_go_on_where_another_one_has_stopped() -> None:
    stream = STREAM + b"id: 8\ndata: 1\n\nid: 9\ndata: 2\n\n"
    async with Server(stream, stream).listening() as server:
        async with Client(server.url) as client:
            await take(client, 1)
            assert client.last_event_id == "8", "of the event taken, not of all that are here"
        async with Client(server.url, last_event_id=client.last_event_id) as client:
            await take(client, 1)
        assert server.header("Last-Event-ID") == [None, "8"]


async def test_iterating_can_be_left_and_taken_up_again() -> None:
    """A timeout around the loop costs no event."""
    async with (
        Server(STREAM + b"data: 1\n\ndata: 2\n\n").listening() as server,
        Client(server.url) as client,
    ):
        seen = []
        for _ in range(2):
            async for event in client:
                seen.append(event.data)
                break
        assert seen == ["1", "2"]


async def test_an_id_that_no_header_can_carry_is_not_sent() -> None:
    bad, good = STREAM + b"id: \x1b\ndata: 1\n\n", STREAM + b"data: 2\n\n"
    async with Server(bad, good).listening() as server, Client(server.url) as client:
        assert [event.data for event in await take(client, 2)] == ["1", "2"]
        assert server.header("Last-Event-ID") == [None, None]


@pytest.mark.parametrize("status", ["408", "425", "429", "500", "502", "503", "504"])
async def test_a_failure_that_may_pass_is_tried_again(
    status: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.client.client._RETRY", 0.1)
    answers = answer(f"{status} Wait"), STREAM + b"data: 1\n\n"
    async with Server(*answers).listening() as server, Client(server.url) as client:
        assert [event.data for event in await take(client, 1)] == ["1"]
    assert waits(caplog)[0][0] == f"answered {status}"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 10.5),
        ("in 200 seconds", 50, 300),
        ("999999999999", 3600, 3600),
        ("soon", 3, 4.5),
        ("-5", 3, 4.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 3, 4.5),
    ],
)
async def test_retry_after_is_kept_to_within_reason(
    value: str, least: float, most: float, caplog: pytest.LogCaptureFixture
) -> None:
    if value == "in 200 seconds":  # from now, not from when the tests were collected
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)
    busy = answer("429 Too Many Requests", b"", f"Retry-After: {value}")
    async with Server(busy).listening() as server, Client(server.url) as client:
        _, wait = await first_wait(client, caplog)
        assert least <= wait <= most


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "405", "410"])
async def test_a_refusal_is_final_and_gives_the_servers_reason(status: str) -> None:
    body = b'{"error": {"code": "invalid_token", "message": "the token is not valid"}}'
    async with Server(answer(f"{status} No", body)).listening() as server:
        async with Client(server.url) as client:
            with pytest.raises(StreamRefused, match="the token is not valid") as refused:
                await take(client, 1)
        assert (refused.value.status, refused.value.code) == (int(status), "invalid_token")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (answer("404 Not Found", b"<html>"), "404: Not Found"),
        (answer("404 Not Found", b"[" * 9000), "404: Not Found"),
        (answer("200 OK", b"", "Content-Type: text/html"), "text/html instead of"),
        (answer("302 Found", b"", "Location: http://127.0.0.1:9/"), "redirects are not followed"),
        (answer("403 No", b'{"error":{"code":"x","message":"\\u001b[2J"}}'), "403: $"),
    ],
    ids=["no JSON", "deep JSON", "a page", "elsewhere", "terminal commands"],
)
async def test_an_answer_that_is_no_stream_is_refused_in_words_of_ours(
    refusal: bytes, text: str
) -> None:
    async with Server(refusal).listening() as server, Client(server.url) as client:
        with pytest.raises(StreamRefused, match=text):
            await take(client, 1)


async def test_each_failure_in_a_row_waits_longer_and_an_event_starts_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stream without an event is one, as of a proxy behind which nobody is: no position moves."""
    event = STREAM + b"data: 1\nid: here\n\n"
    async with (
        Server(event, STREAM, STREAM, event, event).listening() as server,
        Client(server.url) as client,
    ):
        await take(client, 3)
        assert server.header("Last-Event-ID") == [None, *["here"] * 4]
    least = [0.1, 0.2, 0.4, 0.1]
    measured = [wait for _, wait in waits(caplog)]
    assert [low <= wait <= 1.6 * low for low, wait in zip(least, measured, strict=True)] == [
        True
    ] * 4


async def test_the_wait_is_bounded_and_never_shorter_than_the_server_wants(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hour = STREAM + b"retry: 600000\n"
    async with Server(hour).listening() as server, Client(server.url) as client:
        _, wait = await first_wait(client, caplog)
        assert 600 <= wait <= 900


async def test_a_server_that_asks_for_no_wait_gets_no_busy_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Server(STREAM + b"retry: 0\n").listening() as server, Client(server.url) as client:
        _, wait = await first_wait(client, caplog)
        assert 0.1 <= wait <= 0.2


async def test_a_connection_that_fell_silent_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells of a half-open connection but that no heartbeat comes."""
    monkeypatch.setattr("aionotify.client.client._SILENCE", 0.1)
    answers = None, STREAM + b"data: 1\n\n"
    async with Server(*answers).listening() as server, Client(server.url) as client:
        await take(client, 1)
    assert waits(caplog)[0][0] == "no data for too long"


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not valid HTTP, or is incomplete"),
        (STREAM.replace(b"\r\n\r\n", b"\r\nContent-Length: 99\r\n\r\n"), "is incomplete"),
        (b"", "disconnected"),
    ],
    ids=["another protocol", "a cut body", "nothing"],
)
async def test_an_answer_that_is_not_http_is_an_outage(
    garbage: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Server(garbage).listening() as server,
        Client(server.url + "?ticket=secret", token="secret") as client,
    ):
        assert reason in (await first_wait(client, caplog))[0]
    assert "secret" not in caplog.text + str([getattr(r, "fields", "") for r in caplog.records])


async def test_a_server_that_is_not_there_yet_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Client(f"http://127.0.0.1:{free_port()}/notify") as client:
        reason, wait = await first_wait(client, caplog)
    assert "Cannot connect" in reason
    assert 3 <= wait <= 4.5


async def test_an_event_longer_than_allowed_is_an_error_and_not_a_loop() -> None:
    async with (
        Server(STREAM + b"data: " + b"x" * 5000).listening() as server,
        Client(server.url, max_bytes=4096) as client,
    ):
        with pytest.raises(EventTooLong):
            await take(client, 1)


@pytest.mark.parametrize("url", ["127.0.0.1:8001/notify", "ftp://host/", "http:///notify", ""])
def test_an_address_that_cannot_be_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="begins with http"):
        Client(url)


async def test_a_client_can_be_closed_without_a_block_and_its_events_parsed() -> None:
    async with Server(STREAM + b'data: {"a": 1}\n\ndata: x\n\n').listening() as server:
        client = await Client(server.url).__aenter__()
        assert (await anext(client)).json() == {"a": 1}
        with pytest.raises(ValueError, match="Expecting value"):
            (await anext(client)).json()
        await client.aclose()
        await client.aclose()


async def test_a_client_that_is_not_entered_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await anext(Client("http://127.0.0.1/notify"))


async def test_client_misses_nothing_while_a_server_is_killed_and_started_again(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    """The other side is real here: what was published in between comes, once and in order."""
    settings = {
        "server.port": free_port(),
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "stream.retry": 100,
    }
    async with (
        Publisher(redis_server.url) as publisher,
        NotifyServer(settings) as first,
        Client(f"{first.url}/notify", token="token-42") as client,
    ):
        [connected] = await take(client, 1)
        assert connected.type == "aionotify.open"
        await publisher.publish({"recipient_id": "42", "event": "n", "data": 1})
        await take(client, 1)
        await first.kill()
        for n in (2, 3):
            await publisher.publish({"recipient_id": "42", "event": "n", "data": n})
        async with NotifyServer(settings):
            again = await take(client, 3)
    assert [event.type for event in again] == ["aionotify.open", "n", "n"]
    assert [event.data[-2:] for event in again[1:]] == ["2}", "3}"]
