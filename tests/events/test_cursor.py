"""Cursors: opaque to clients, safe in a header, and of use to nobody but who was given them."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aionotify.events.cursor import (
    EVERYONE_END,
    MAX_CHARS,
    Cursor,
    epoch_of,
    everyone_part,
    own_part,
    parse,
    position_at,
    shard_end,
    tag,
)
from aionotify.events.group import SHARDS

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


def with_groups(at: Cursor, user: str, end: bytes = b"") -> str:
    text = everyone_part("q5hr2c", at.everyone, at[2:]) + own_part(at.own, tag(user)) + end
    return text.decode()


@given(st.lists(positions, min_size=6, max_size=6), users)
def test_a_cursor_with_groups_has_a_position_for_each_shard(at: list[int], user: str) -> None:
    """It never grows with the number of groups."""
    for end in (b"", EVERYONE_END, *map(shard_end, SHARDS)):
        text = with_groups(Cursor(*at), user, end)
        assert parse(text, user) == Cursor(*at)
        assert len(text) <= MAX_CHARS


def test_a_cursor_says_of_which_shard_its_event_is() -> None:
    at = Cursor(2, 4, 6, 8, 10, 12)
    found = [position_at(with_groups(at, "42", shard_end(shard))) for shard in SHARDS]
    assert found == [("g1", 6), ("g2", 8), ("g3", 10), ("g4", 12)]
    assert position_at(with_groups(at, "42")) == (tag("42").decode(), 4)
    assert position_at(with_groups(at, "42", EVERYONE_END)) == ("all", 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.", "2."),  # positions of shards are in no other version
        ("3.", "4."),
        (".00000000000006", ""),
        (".g2", ".g5"),
        (".g2", ".g"),
    ],
)
def test_a_cursor_with_groups_that_was_changed_is_none(old: str, new: str) -> None:
    good = with_groups(Cursor(2, 4, 6, 8, 10, 12), "42", b".g2")
    assert parse(good, "42") is not None
    assert parse(good.replace(old, new, 1), "42") is None


def test_a_cursor_without_groups_is_of_no_shard() -> None:
    text = (everyone_part("q5hr2c", 2) + own_part(4, tag("42")) + b".g2").decode()
    assert parse(text, "42") is None
    assert position_at(text) is None
