"""What may be a user id."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.auth import AuthFailed, Identity, user_id_from


@pytest.mark.parametrize(
    ("value", "user_id"),
    [(42, "42"), ("42", "42"), (-1, "-1"), ("ä{b}:c d", "ä{b}:c d"), ("x" * 256, "x" * 256)],
)
def test_a_string_or_integer_names_a_user(value: object, user_id: str) -> None:
    assert user_id_from(value) == user_id


@pytest.mark.parametrize(
    "value",
    [None, True, False, 1.0, 1.5, [], {}, ["42"], b"42", "", "x" * 257, 10**300],
)
def test_anything_else_names_nobody(value: object) -> None:
    with pytest.raises(AuthFailed):
        user_id_from(value)


def test_an_identity_holds_nothing_else() -> None:
    """An embedder's authenticator makes its own."""
    number: Any = 42
    assert Identity(number) == Identity("42")
    for nobody in ("*", "", "a\nb", None):
        with pytest.raises(AuthFailed):
            Identity(nobody)  # type: ignore[arg-type]


def test_an_integer_too_long_to_be_written_out_is_refused() -> None:
    with pytest.raises(AuthFailed):
        user_id_from(10**10_000)


def test_the_word_for_everyone_is_not_a_user() -> None:
    """With "*" as an id, one user's stream would get what is meant for everyone's."""
    with pytest.raises(AuthFailed, match="everyone"):
        user_id_from("*")


@pytest.mark.parametrize("char", ["\0", "\n", "\r", "\x1f", "\x7f", "\x85", "\x9f", "\ud800"])
def test_control_characters_and_surrogates_are_refused(char: str) -> None:
    with pytest.raises(AuthFailed, match="control"):
        user_id_from(f"a{char}b")


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.binary()))
def test_whatever_it_is_given_it_returns_what_utf8_can_carry_or_refuses(value: object) -> None:
    try:
        user_id = user_id_from(value)
    except AuthFailed:
        return
    assert user_id == str(value)
    assert 1 <= len(user_id.encode("utf-8").decode()) <= 256
