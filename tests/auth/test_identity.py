"""What may be a user id."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.auth import AuthFailed, Identity, user_id_from
from aionotify.auth.identity import groups_from


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


@pytest.mark.parametrize("given", [["team:7", 12], {"team:7", "12"}, ("12", "team:7", "team:7")])
def test_groups_are_named_as_users_are(given: Any) -> None:
    """Integers allowed, each once, in whatever collection."""
    assert Identity("alice", groups=given).groups == {"team:7", "12"}
    assert hash(Identity("alice", groups=given))


def test_an_identity_has_no_groups_unless_they_are_named() -> None:
    assert Identity("alice").groups == frozenset()
    assert Identity("alice", groups=[]).groups == frozenset()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "the group '' is not 1 to 256 characters long"),
        ("x" * 257, f"the group '{'x' * 40}…' is not 1 to 256 characters long"),
        ("*", "the group '*' is \"*\", which stands for everyone"),
        ("a\nb", "the group 'a\\\\nb' contains a control character"),
        ("a\ud800", "the group 'a\\\\ud800' contains a control character"),
        (None, "the group of type NoneType is neither a string nor an integer"),
        (True, "the group of type bool is neither a string nor an integer"),
        (1.5, "the group of type float is neither a string nor an integer"),
        (["a"], "the group of type list is neither a string nor an integer"),
        (10**400, "the group of type int is not 1 to 256 characters long"),
    ],
)
def test_what_cannot_be_a_group_is_refused_by_its_name(name: object, told: str) -> None:
    """Also as one of several."""
    for groups in ([name], ["team:7", name, "team:8"]):
        with pytest.raises(AuthFailed) as raised:
            Identity("alice", groups=groups)  # type: ignore[arg-type]
        assert raised.value.message == told.replace("\\\\", "\\")


@pytest.mark.parametrize("groups", ["team:7", b"team:7", 7, None, {"team:7": True}, object()])
def test_what_is_no_list_of_groups_is_refused(groups: Any) -> None:
    with pytest.raises(AuthFailed, match="the groups are not a list"):
        Identity("alice", groups=groups)


def test_more_groups_than_are_allowed_are_refused_before_they_are_looked_at() -> None:
    names = [str(number) for number in range(10_000)]
    with pytest.raises(AuthFailed, match="there are 10000 groups, at most 100 allowed"):
        groups_from([*names[:-1], object()], 100)
    assert len(groups_from(names[:100], 100)) == 100
