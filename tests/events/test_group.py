"""Groups: in which shard one lies, and what stands for it in copies."""

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.group import (
    MARK_CHARS,
    SHARDS,
    GroupId,
    each_mark,
    mark,
    marks,
    shard_of,
)

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=256)


def test_groups_are_spread_over_all_shards() -> None:
    counts = Counter(shard_of(f"team:{number}") for number in range(10_000))
    assert set(counts) == set(SHARDS)
    assert min(counts.values()) > 2300


def test_where_a_group_lies_never_changes() -> None:
    """It is where its events are kept."""
    assert [shard_of(name) for name in ("team:7", "a", "β", "order:1234")] == [4, 4, 1, 2]


@given(names)
def test_a_mark_has_one_length_and_can_be_told_from_an_event(name: str) -> None:
    for receiver in (name, GroupId(name)):
        assert re.fullmatch(rb"[A-Za-z0-9_-]{11}", mark(receiver))
    assert MARK_CHARS == 11


@given(names, names)
def test_receivers_have_marks_of_their_own(one: str, other: str) -> None:
    """A group's is not that of a user of its name."""
    assert mark(one) != mark(GroupId(one))
    assert (mark(one) == mark(other)) == (one == other)


@given(st.lists(names, max_size=5))
def test_marks_are_told_apart_again(users: list[str]) -> None:
    assert list(each_mark(marks(users))) == list(map(mark, users))
