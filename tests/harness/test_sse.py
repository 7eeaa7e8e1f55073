"""The SSE client sees what is on the wire, and misbehaves when told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import EventParser, SSEClient, SSEEvent, eventually

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def parse(stream: bytes) -> list[SSEEvent]:
    return list(EventParser().feed(stream))


# The examples of the HTML Standard, section 9.2.6, and the rules they leave out.
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("", "message", "YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: 1st\nid: 1\n\ndata:2nd\nid\n\ndata:  3rd\n\n",
            [
                ("1", "message", "1st"),
                ("", "message", "2nd"),
                ("", "message", " 3rd"),
            ],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [("", "message", ""), ("", "message", "\n")]),
        (b"data:test\n\ndata: test\n\n", [("", "message", "test"), ("", "message", "test")]),
        (b"event: add\ndata: 1\n\ndata: 2\n\n", [("", "add", "1"), ("", "message", "2")]),
        (b"event: add\n\ndata: 1\n\n", [("", "message", "1")]),
        (b"\xef\xbb\xbfdata: 1\r\rdata: 2\r\n\r\n", [("", "message", "1"), ("", "message", "2")]),
        (b"id: 7\n\ndata: 1\n\n", [("7", "message", "1")]),
        (b"id: 7\0\ndata: 1\n\n", [("", "message", "1")]),
        (b"Data: 1\nunknown: 2\ndata : 3\n\n", []),
        (b"data: \xff\n\n", [("", "message", "\ufffd")]),
        (b"data: 1\n", []),
    ],
)
def test_the_parser_follows_the_html_standard(
    stream: bytes, events: list[tuple[str, str, str]]
) -> None:
    """A stream, and the events that the Standard makes of it."""
    assert parse(stream) == [SSEEvent(*event) for event in events]


@given(
    lines=st.lists(
        st.sampled_from([b"data: a", b"data:\xc3\xa9", b"id: 1", b"event: x", b":", b"", b""])
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    cuts=st.lists(st.integers(0, 80)),
)
def test_ends_of_chunks_make_no_difference(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Any chunking of a stream gives the same events, comments and last event id."""
    # The end of a line that ends with CR is known only when the next byte is.
    stream = end.join([*lines, b":last"])
    whole, pieces = EventParser(), EventParser()
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    expected = list(whole.feed(stream))
    got = [event for start, stop in pairwise(bounds) for event in pieces.feed(stream[start:stop])]
    assert got == expected
    assert (pieces.comments, pieces.last_event_id) == (whole.comments, whole.last_event_id)


def test_retry_takes_digits_only() -> None:
    """``retry: 3000`` counts, ``retry: 3s`` does not."""
    parser = EventParser()
    assert list(parser.feed(b"retry: 3000\nretry: 3s\n")) == []
    assert parser.retry == 3000


class Scripted:
    """A server that answers each connection with `respond` and remembers the requests."""

    def __init__(self, respond: Callable[[asyncio.StreamWriter], None]) -> None:
        self.respond = respond
        self.requests: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.ends: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        self.writers.append(writer)
        self.respond(writer)
        try:
            await reader.read()
            self.ends.append("closed")
        except ConnectionResetError:
            self.ends.append("reset")
        writer.close()


@asynccontextmanager
async def scripted(respond: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[Scripted]:
    script = Scripted(respond)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notify?x=1"
    async with server:
        yield script
        await eventually(lambda: len(script.ends) == len(script.requests))


def chunked(*contents: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(content), content) for content in contents)


async def test_client_takes_the_chunked_coding_off_and_keeps_the_bytes() -> None:
    """Events that chunks cut in two are whole, and `raw` is what was sent."""
    body = chunked(b"id: 1\ndata: o", b"ne\n\n:\n", b"id: 2\nevent: t\ndata: two\n\n")
    async with (
        scripted(lambda writer: writer.write(HEAD + body)) as script,
        SSEClient(script.url, token="secret") as client,
    ):
        assert await client.wait_events(2) == [
            SSEEvent("1", "message", "one"),
            SSEEvent("2", "t", "two"),
        ]
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream")
        assert (client.heartbeats, client.last_event_id, client.end) == (1, "2", None)
        assert client.raw == body
        assert script.requests[0].startswith("GET /notify?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
        assert "\r\nAuthorization: Bearer secret\r\n" in script.requests[0]
        assert "Last-Event-ID" not in script.requests[0]


async def test_client_comes_back_with_the_last_event_id() -> None:
    """A reconnect sends Last-Event-ID, and adds to what was seen."""
    async with (
        scripted(lambda writer: writer.write(HEAD + chunked(b":\nid: 7\ndata: x\n\n"))) as script,
        SSEClient(script.url) as client,
    ):
        await client.wait_events(1)
        await client.reconnect()
        await client.wait_events(2)
        assert "\r\nLast-Event-ID: 7\r\n" in script.requests[1]
        assert client.heartbeats == 2


@pytest.mark.parametrize(
    ("response", "end"),
    [
        (HEAD + chunked(b"data: 1\n\n", b""), "complete"),
        (HEAD + chunked(b"data: 1\n\n"), "cut"),
        (HEAD + b"fff\r\ndata: 1", "cut"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}", "complete"),
        (b"HTTP/1.0 200 OK\r\n\r\ndata: 1\n\n", "complete"),
    ],
)
async def test_client_tells_how_a_response_ended(response: bytes, end: str) -> None:
    """Complete as HTTP has it, or cut in the middle."""

    def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(response)
        writer.close()

    async with scripted(respond) as script, SSEClient(script.url, version="1.0") as client:
        assert await client.wait_end() == end
        assert script.requests[0].startswith("GET /notify?x=1 HTTP/1.0\r\n")


async def test_a_stalled_client_stops_the_server_and_misses_nothing() -> None:
    """While stalled, little fits into the socket; what did not comes after."""
    frame = b"data: " + b"x" * 1000 + b"\n\n"
    count = 10000

    def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)

    async with (
        scripted(respond) as script,
        SSEClient(script.url, receive_buffer=4096) as client,
    ):
        client.stall()
        [writer] = script.writers
        writer.write(chunked(frame) * count)
        await asyncio.sleep(0)
        unsent = writer.transport.get_write_buffer_size()
        assert unsent > len(frame) * count / 2
        assert client.events == []
        client.flow()
        await client.wait_events(count)


async def test_a_reset_client_is_a_reset_connection() -> None:
    """The server sees ECONNRESET, not the end of a stream."""
    async with scripted(lambda writer: writer.write(HEAD)) as script:
        async with SSEClient(script.url) as client:
            client.reset()
            await client.wait_end()
        await eventually(lambda: script.ends == ["reset"])


async def test_waiting_for_what_does_not_come_says_what_came() -> None:
    """The error of a wait that ran out shows the events."""
    async with (
        scripted(lambda writer: writer.write(HEAD + chunked(b"data: this\n\n"))) as script,
        SSEClient(script.url) as client,
    ):
        await client.wait_events(1)
        with pytest.raises(AssertionError, match="data='this'"):
            await client.wait_events(2, timeout=0.05)


async def test_a_server_that_hangs_up_without_an_answer_is_an_error() -> None:
    """No response, no client: connect() raises and leaves no socket open."""

    def respond(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with scripted(respond) as script:
        with pytest.raises(asyncio.IncompleteReadError):
            await SSEClient(script.url).connect()
