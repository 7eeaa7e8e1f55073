"""Cursors: opaque to clients, safe in a header, and of use to nobody but who was given them."""

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from aionotify.events.cursor import (
    MAX_CHARS,
    Cursor,
    epoch_of,
    everyone_part,
    own_part,
    parse,
    tag,
)

positions = st.integers(0, 16**14 - 1)
users = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


CURSOR_LIKE = st.from_regex(r"\A2\.[a-z2-7-]{6}\.[0-9a-f.]{28,31}\.[a-z2-7]{3,5}\Z")
epochs = st.from_regex(r"[a-z2-7]{6}", fullmatch=True) | st.none()


def written(cursor: Cursor, user: str, epoch: str | None = "q5hr2c") -> str:
    return (everyone_part(epoch, cursor.everyone) + own_part(cursor.own, tag(user))).decode()


@given(positions, positions, users, epochs)
def test_a_cursor_comes_back_as_it_was_given(
    everyone: int, own: int, user: str, epoch: str | None
) -> None:
    text = written(Cursor(everyone, own), user, epoch)
    assert parse(text, user) == Cursor(everyone, own)
    assert epoch_of(text) == epoch


def test_a_cursor_of_the_first_version_is_one_of_no_data_set() -> None:
    text = written(Cursor(4, 2), "42").replace("2.q5hr2c.", "1.")
    assert parse(text, "42") == Cursor(4, 2)
    assert epoch_of(text) is None
    assert epoch_of("garbage") is None


@given(positions, positions, users)
def test_a_cursor_needs_no_preflight_and_is_as_long_as_any_other(
    everyone: int, own: int, user: str
) -> None:
    """Fetch Standard: a Last-Event-ID of other characters, or a longer one, costs a preflight."""
    text = written(Cursor(everyone, own), user)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", text)
    assert len(text) == len(written(Cursor(0, 0), "")) <= MAX_CHARS


@given(positions, positions, users, users)
def test_a_cursor_of_another_user_is_none(everyone: int, own: int, one: str, other: str) -> None:
    assume(tag(one) != tag(other))
    assert parse(written(Cursor(everyone, own), one), other) is None


def test_users_have_tags_of_their_own() -> None:
    tags = {tag(str(number)) for number in range(1000)}
    assert len(tags) > 990


@given(st.text(max_size=60) | CURSOR_LIKE, users)
def test_whatever_comes_back_is_a_cursor_or_none(text: str, user: str) -> None:
    found = parse(text, user)
    epoch = epoch_of(text)
    assert found is None or written(found, user, epoch) == text


def test_digits_of_other_scripts_and_line_ends_are_no_cursor() -> None:
    good = written(Cursor(2, 4), "42")
    assert parse(good, "42")
    for bad in (good + "\n", good.upper(), good.replace("2", "٢", 1), " " + good, "3" + good[1:]):
        assert parse(bad, "42") is None
