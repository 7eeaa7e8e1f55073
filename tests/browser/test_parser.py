"""The module's parser under Node: the rules of the HTML Standard, whole and in any pieces."""

from typing import Any

import pytest

from tests.browser.node import MODULE, run_node
from tests.harness import EventParser

# What a stream is, and the events that a browser would dispatch for it: type, data, last event id.
CASES: list[tuple[bytes, list[tuple[str, str, str]]]] = [
    # The examples of section 9.2.6.
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
        [
            ("message", "first event", "1"),
            ("message", "second event", ""),
            ("message", " third", ""),
        ],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")]),
    (b"data:test\n\ndata: test\n\n", [("message", "test", "")] * 2),
    # The end of a line, of an event, of the stream.
    (b"data: 1\r\rdata: 2\r\n\r\ndata: 3\n\r\n", [("message", n, "") for n in "123"]),
    (b"data: a\rdata: b\r\ndata: c\n\n", [("message", "a\nb\nc", "")]),
    (b"data: 1\r\n\ndata: 2\n\r\r\n\ndata: 3\n\n", [("message", n, "") for n in "123"]),
    (b"\r\n\r\r\n\n\ndata: 1\n\n\n\n", [("message", "1", "")]),
    (b"data: no end\n", []),
    (b"data: no end", []),
    (b"", []),
    # Fields.
    (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", "1", ""), ("message", "2", "")]),
    (b"event: a\nevent: b\ndata: 1\n\n", [("b", "1", "")]),
    (b"event: a\nevent\ndata: 1\n\n", [("message", "1", "")]),
    (b"event: lost\n\ndata: 1\n\n", [("message", "1", "")]),
    (b"unknown: 1\nDATA: 2\n data: 3\ndata : 4\ndata: 5\n\n", [("message", "5", "")]),
    (b"data: a:b: c\ndata::\ndata:\t \n\n", [("message", "a:b: c\n:\n\t ", "")]),
    (b"data:\n\n", [("message", "", "")]),
    (b": comment\n:\ndata: 1\n:data: 2\n\n", [("message", "1", "")]),
    (b"retry: 10\nretry: x\nretry: 1e3\nretry: -1\nretry\ndata: 1\n\n", [("message", "1", "")]),
    # Ids.
    (b"id: 1\ndata: 1\n\ndata: 2\n\n", [("message", "1", "1"), ("message", "2", "1")]),
    (b"data: 1\nid: 1\n\n", [("message", "1", "1")]),
    (b"id: 1\n\ndata: 2\n\n", [("message", "2", "1")]),
    (b"id: 1\ndata: 1\n\nid\ndata: 2\n\n", [("message", "1", "1"), ("message", "2", "")]),
    (b"id: 1\0\ndata: 1\n\n", [("message", "1", "")]),
    (b"id: 1\nid: 2\0\ndata: 1\n\n", [("message", "1", "1")]),
    # Characters.
    (b"\xef\xbb\xbfdata: 1\n\n", [("message", "1", "")]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
    (b"\n\xef\xbb\xbfdata: 1\n\n", []),
    ("data: \x85\u2028\u2029\x0b\n\n".encode(), [("message", "\x85\u2028\u2029\x0b", "")]),
    (b"data: \x0c\x1e\0\n\n", [("message", "\x0c\x1e\0", "")]),
    (b"data: \xff\xc3\xed\xa0\n\n", [("message", "\ufffd" * 4, "")]),
    ("event: \u00fc\ndata: \u20ac\U0001f514\n\n".encode(), [("\u00fc", "\u20ac\U0001f514", "")]),
]  # fmt: skip
SCRIPT = f"""
    const {{ Parser }} = await import("{MODULE.as_uri()}");
    const parse = (bytes, size) => {{
      const parser = new Parser();
      let id = "";
      const events = [];
      for (let at = 0; at < bytes.length; at += size) {{
        for (const found of parser.push(Uint8Array.from(bytes.slice(at, at + size)))) {{
          id = found.id ?? id;
          if (found.data !== undefined) events.push([found.type, found.data, id]);
        }}
      }}
      return [events, parser.retry ?? null];
    }};
"""


@pytest.fixture(scope="module")
def parsed() -> list[list[Any]]:
    """What the parser makes of each case, in pieces of 1 byte, of 2, … and as a whole."""
    sizes = "Array.from({ length: Math.max(bytes.length, 1) }, (_, size) => parse(bytes, size + 1))"
    script = SCRIPT + f"console.log(JSON.stringify(input.map((bytes) => {sizes})));"
    answer: list[list[Any]] = run_node(script, [list(stream) for stream, _ in CASES])
    return answer


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: repr(CASES[number][0]))
def test_a_stream_means_what_the_standard_says_in_pieces_of_any_size(
    parsed: list[list[Any]], number: int
) -> None:
    stream, expected = CASES[number]
    harness = EventParser()
    assert [(e.event, e.data, e.id) for e in harness.feed(stream)] == expected
    for events, _ in parsed[number]:
        assert [tuple(event) for event in events] == expected


def test_retry_is_a_number_of_digits_and_nothing_else(parsed: list[list[Any]]) -> None:
    [number] = [at for at, (stream, _) in enumerate(CASES) if stream.startswith(b"retry")]
    assert {retry for _, retry in parsed[number]} == {10}


@pytest.mark.parametrize("piece", ["data: ", "", "data: x\\ndata: "])
def test_an_event_that_never_ends_is_refused_before_memory_is(piece: str) -> None:
    """As one line, as one that has no colon, and as many lines."""
    script = f"""
        const parser = new Parser();
        const piece = new TextEncoder().encode("{piece}" + "x".repeat(2 ** 20));
        let count = 0;
        try {{
          for (; count < 1000; count++) parser.push(piece);
        }} catch (error) {{
          console.log(JSON.stringify([count, error.message, error.final]));
        }}
    """
    count, message, final = run_node(SCRIPT + script)
    assert 30 <= count <= 33
    assert (message, final) == ("an event is too long", True)
