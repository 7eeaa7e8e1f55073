"""Reading event streams: the HTML Standard's rules, any chunking, and a bound on memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.client.parser import EventTooLong, Parser, ServerSentEvent
from tests.harness import EventParser


def parsed(
    stream: bytes, size: int | None = None, last_event_id: str = ""
) -> list[tuple[str, ...]]:
    """Type, data and id of the events in `stream`, fed in pieces of `size` bytes."""
    parser = Parser(last_event_id, 4096)
    size = size or max(1, len(stream))
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return [(e.type, e.data, e.id) for piece in pieces for e in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\n", [("message", "one", "")]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
        (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
        (b"data:test\n\ndata: test\n\n", [("message", "test", "")] * 2),
        (b"data:  two spaces\n\n", [("message", " two spaces", "")]),
        (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", "1", ""), ("message", "2", "")]),
        (b"event: lost\n\ndata: 1\n\n", [("message", "1", "")]),
        (b"id: 1\ndata: 1\n\ndata: 2\n\n", [("message", "1", "1"), ("message", "2", "1")]),
        (b"id: 1\n\ndata: 2\n\n", [("message", "2", "1")]),
        (b"id: 1\ndata: 1\n\nid\ndata: 2\n\n", [("message", "1", "1"), ("message", "2", "")]),
        (b"id: 1\0\ndata: 1\n\n", [("message", "1", "")]),
        (b": comment\ndata: 1\n:\n\n", [("message", "1", "")]),
        (b"unknown: 1\nDATA: 2\n data: 3\ndata: 4\n\n", [("message", "4", "")]),
        (b"data: a:b: c\n\n", [("message", "a:b: c", "")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [("message", "1", "")]),
        (b"\n\xef\xbb\xbfdata: 1\n\n", []),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
        (b"data: 1\r\rdata: 2\r\n\r\ndata: 3\n\r\n", [("message", n, "") for n in "123"]),
        (b"data: a\rdata: b\r\ndata: c\n\n", [("message", "a\nb\nc", "")]),
        ("data: \x85\u2028\u2029\x0b\n\n".encode(), [("message", "\x85\u2028\u2029\x0b", "")]),
        (b"data: \xff\xc3\n\n", [("message", "\ufffd\ufffd", "")]),
        ("data: \U0001f514\n\n".encode(), [("message", "\U0001f514", "")]),
        (b"data: without an end\n", []),
    ],
    ids=repr,
)
def test_a_stream_means_what_the_standard_says_in_pieces_of_any_size(
    stream: bytes, events: list[tuple[str, ...]]
) -> None:
    for size in range(1, len(stream) + 1):
        assert parsed(stream, size) == events


@given(
    st.lists(
        st.sampled_from(
            [
                *(b"data", b"event", b"id", b"retry", b":", b" ", b"1", b"\n", b"\r", b"\r\n"),
                *(b"\0", b"\xef\xbb\xbf", b"\xc2", b"\x85", b"x", b"\n\n"),
            ]
        ),
        max_size=40,
    ),
    st.integers(1, 9),
)
def test_any_bytes_give_what_an_independent_parser_makes_of_them(
    parts: list[bytes], size: int
) -> None:
    # A CR at the very end is where they differ: ours does not wait for what comes after it.
    stream = b"".join(parts) + b":"
    independent = EventParser("before")
    expected = [(e.event, e.data, e.id) for e in independent.feed(stream)]
    assert parsed(stream, size, "before") == expected


def test_an_event_is_there_as_soon_as_its_blank_line_begins() -> None:
    """A server that ends lines with CR need not send another event first."""
    parser = Parser("", 4096)
    assert parser.feed(b"data: 1\r\r") == [ServerSentEvent("message", "1", "")]
    assert parser.feed(b"\ndata: 2\r") == []
    assert parser.feed(b"") == []
    assert parser.feed(b"\n\r\n") == [ServerSentEvent("message", "2", "")]


def test_only_a_whole_number_sets_the_time_before_reconnecting() -> None:
    parser = Parser("", 20_000)
    for text in (b"1e3", b"-1", b"1.5", b"", b"\xd9\xa1", b"9" * 5000):
        parser.feed(b"retry: %b\n" % text)
    assert parser.retry is None
    parser.feed(b"retry: 250\n")
    assert parser.retry == 250


@pytest.mark.parametrize(
    "part",
    [b"x", b"data: x\n", b"data\n", b"data: " + b"x" * 1000 + b"\n"],
    ids=["no line end", "no blank line", "empty lines", "long lines"],
)
def test_an_event_without_an_end_is_refused_at_the_bound(part: bytes) -> None:
    parser = Parser("", 4096)
    for _ in range(3600 // len(part)):
        parser.feed(part)
    with pytest.raises(EventTooLong, match="longer than 4096 bytes"):
        parser.feed(part * 500)


def test_a_long_stream_of_short_events_is_no_long_event() -> None:
    parser = Parser("", 100)
    stream = b"event: a\ndata: 1\n\n: a comment, as long as an event may be\n"
    assert sum(len(parser.feed(stream)) for _ in range(1000)) == 1000
