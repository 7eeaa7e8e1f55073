"""The bytes of a frame, and of the chunk that carries it."""

from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.frame import chunk, frame, framed_chunk


@given(st.binary(min_size=1, max_size=5000))
def test_a_chunk_says_how_long_it_is(content: bytes) -> None:
    size, _, rest = chunk(content).partition(b"\r\n")
    assert (int(size, 16), rest) == (len(content), content + b"\r\n")


def test_a_frame_is_lines_that_end_in_lf() -> None:
    assert frame(b"{}") == b"data: {}\n\n"
    assert frame(b"{}", "é") == b"event: \xc3\xa9\ndata: {}\n\n"
    assert frame(b"{}", None, b"1.a") == b"data: {}\nid: 1.a\n\n"
    assert frame(b"{}", "x", b"1.a") == b"event: x\ndata: {}\nid: 1.a\n\n"


@given(st.binary(max_size=5000), st.sampled_from([None, "x", "é"]), st.sampled_from([None, b"1.a"]))
def test_a_frame_made_as_a_chunk_is_the_chunk_of_that_frame(
    data: bytes, type: str | None, cursor: bytes | None
) -> None:
    assert framed_chunk(data, type, cursor) == chunk(frame(data, type, cursor))


@given(st.text(max_size=100), st.sampled_from([None, "x"]), st.integers(0, 200))
def test_a_frame_that_is_cut_off_has_no_id_without_its_data(
    text: str, type: str | None, cut: int
) -> None:
    """Some clients take an id as they parse it, and would resume after an event they never got."""
    data = text.replace("\n", "").replace("\r", "").encode()
    lines = frame(data, type, b"1.a")[:cut].split(b"\n")
    if any(line.startswith(b"id:") for line in lines[:-1]):
        assert b"data: " + data in lines[:-1]
