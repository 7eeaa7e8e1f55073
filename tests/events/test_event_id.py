"""Event ids, and that a client finds them in the cursors that it is given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.cursor import (
    EVERYONE_END,
    MAX_CHARS,
    Cursor,
    everyone_part,
    own_part,
    parse,
    tag,
)
from aionotify.events.event import EVERYONE
from aionotify.events.event_id import EventId, event_id, id_at
from aionotify.events.event_id import parse as parse_id
from aionotify.events.position import LAST

users = st.text(min_size=1, max_size=256).filter(lambda text: text != EVERYONE)
positions = st.integers(min_value=0, max_value=LAST)


@given(users, positions, positions)
def test_the_cursor_of_an_event_says_which_one_it_is(user: str, everyone: int, own: int) -> None:
    """For an event of the user's own, and for one that is for everyone."""
    cursor = everyone_part("q5hr2c", everyone) + own_part(own, tag(user))
    assert id_at(cursor.decode()) == event_id(user, own)
    of_everyone = (cursor + EVERYONE_END).decode()
    assert id_at(of_everyone) == event_id(EVERYONE, everyone)
    assert len(of_everyone) <= MAX_CHARS
    assert parse(of_everyone, user) == parse(cursor.decode(), user) == Cursor(everyone, own)


@given(users, positions)
def test_an_event_id_is_read_as_it_was_written(user: str, position: int) -> None:
    for recipient in (user, EVERYONE):
        written = event_id(recipient, position)
        assert parse_id(str(written)) == written


def test_an_event_id_has_a_form_that_clients_rely_on() -> None:
    assert str(event_id("42", 0x660F7A6A2A236)) == "5zej.0660f7a6a2a236"
    assert str(event_id(EVERYONE, 0x660F7A6A2A8F8)) == "all.0660f7a6a2a8f8"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5zej",
        "5zej.",
        "5zej.660f7a6a2a236",
        "5zej.0660F7A6A2A236",
        "5ZEJ.0660f7a6a2a236",
        "5zej.0660f7a6a2a236.",
        " 5zej.0660f7a6a2a236",
        "5zej.0660f7a6a2a236\n",
        "everyone.0660f7a6a2a236",
    ],
)
def test_what_is_no_event_id_is_not_taken_for_one(text: str) -> None:
    assert parse_id(text) is None
    assert id_at(text) is None


def test_a_cursor_that_came_before_any_event_names_none_that_was_published() -> None:
    assert id_at("0") is None
    assert id_at("1.0660f7a6a2a8f8.0660f7a6a2a236.5zej") == EventId("5zej", 0x660F7A6A2A236)
