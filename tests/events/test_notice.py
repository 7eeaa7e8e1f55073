"""Notices: what a live message says that is no event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.errors import InvalidEvent
from aionotify.events.notice import MAX_BYTES, Notice, message, parse


@given(st.sampled_from(["read", "recalled"]), st.dictionaries(st.text(max_size=9), st.text()))
def test_a_notice_is_read_as_it_was_written(name: str, members: dict[str, str]) -> None:
    written = message(name, members)
    assert written.decode().splitlines() == [written.decode()]
    found = parse(written)
    assert found.name == name
    assert message(name, {}) == b"- %b {}" % name.encode()
    assert written == b"- %b %b" % (name.encode(), found.data)


@pytest.mark.parametrize(
    "wrong",
    [
        *(b"- ", b"- read", b"- read ", b"- read 1", b"- read []", b"- read {", b"- read {}{}"),
        *(b"- other {}", b"- Read {}", b"-  {}", b"- \xff {}", b'- read {"a":"\xff"}'),
        b'- read {"a":"%b"}' % (b"x" * MAX_BYTES),
        b"- read " + b'{"a":' * 3000,
    ],
)
def test_what_is_no_notice_is_refused(wrong: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse(wrong)


def test_a_notice_is_one_line_for_all_clients() -> None:
    found = parse('- read {"a":\r\n"\u2028"}'.encode())
    assert found == Notice("read", b'{"a":  "\\u2028"}')
