"""Options of an event: what producers may ask for, and what clients get of it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aionotify.broker.published import decode_checked
from aionotify.errors import InvalidEvent
from aionotify.events.event import decode
from aionotify.events.options import MAX_EXPIRES_IN, Options
from aionotify.events.page import Entry

SECOND = 1_000_000  # microseconds


def event(options: object, recipient: object = "42", **members: Any) -> bytes:
    named = {"recipient_id": recipient, "aionotify": options}
    return json.dumps(named | members).encode()


def problems(message: bytes, *, ephemeral: bool = False) -> dict[str, str]:
    with pytest.raises(InvalidEvent) as refused:
        decode_checked(message, 64_000, ephemeral=ephemeral)
    return refused.value.fields


@pytest.mark.parametrize(
    ("options", "name", "problem"),
    [
        (None, "aionotify", "must be an object, not null"),
        ([], "aionotify", "must be an object, not an array"),
        ("x", "aionotify", "must be an object, not a string"),
        ({"foo": 1}, "aionotify.foo", "is no option; there are expires_in, collapse, away, until"),
        ({"until": "read"}, "aionotify.until", "needs the option away"),
        ({"away": 1, "until": "x"}, "aionotify.until", "must be written or read"),
        ({"away": 0}, "aionotify.away", "must be more than 0 and at most 2592000 seconds"),
        ({"a\nb" * 99: 1}, "aionotify." + (r"a\nb" * 99)[:64], "is no option; there are"),
        ({"expires_in": "5"}, "aionotify.expires_in", "must be a number, not a string"),
        ({"expires_in": True}, "aionotify.expires_in", "must be a number, not a boolean"),
        ({"expires_in": None}, "aionotify.expires_in", "must be a number, not null"),
        ({"expires_in": 0}, "aionotify.expires_in", "must be more than 0 and at most 31622400"),
        ({"expires_in": -1}, "aionotify.expires_in", "must be more than 0 and at most 31622400"),
        ({"expires_in": MAX_EXPIRES_IN + 1}, "aionotify.expires_in", "must be more than 0"),
        ({"expires_in": 10**400}, "aionotify.expires_in", "must be a number, not such a number"),
        ({"collapse": 5}, "aionotify.collapse", "must be a string, not a number"),
        ({"collapse": ""}, "aionotify.collapse", "must be 1 to 128 characters, not 0"),
        ({"collapse": "x" * 129}, "aionotify.collapse", "must be 1 to 128 characters, not 129"),
    ],
)
def test_what_is_no_option_is_named(options: object, name: str, problem: str) -> None:
    [(where, text)] = problems(event(options)).items()
    assert where == name
    assert text.startswith(problem)


def test_all_that_is_wrong_is_named_at_once() -> None:
    fields = problems(event({"expires_in": "x", "collapse": 1}, recipient=None, id=5))
    assert set(fields) == {"recipient_id", "id", "aionotify.expires_in", "aionotify.collapse"}
    assert set(problems(event({"collapse": ""}, id=""))) == {"id", "aionotify.collapse"}


def test_an_ephemeral_event_may_collapse_and_cannot_expire() -> None:
    """A client replaces by a key whatever it shows; but what is not kept has no age."""
    fields = problems(event({"expires_in": 5, "collapse": "k"}), ephemeral=True)
    assert fields == {"aionotify.expires_in": "is for durable events only"}
    found = decode_checked(event({"collapse": "k"}), 64_000, ephemeral=True)
    assert found.options == Options(collapse="k")


@pytest.mark.parametrize("recipient", ["42", ["42", "7"], 42, "*"])
def test_clients_get_the_collapse_key_and_no_other_option(recipient: object) -> None:
    """All else as it was published; it is stored with all options."""
    for options, shown in (
        ({"expires_in": 60, "collapse": "k"}, {"collapse": "k"}),
        ({"collapse": "k"}, {"collapse": "k"}),
        ({"expires_in": 60}, None),
        ({}, None),
    ):
        found = decode(event(options, recipient, data=[1.50, "é"]))
        for id in found.recipients:
            own: dict[str, Any] = {"recipient_id": recipient if id in (recipient, "42") else id}
            if isinstance(recipient, list):
                own["recipient_id"] = id
            own["data"] = [1.5, "é"]
            expected = own | ({"aionotify": shown} if shown is not None else {})
            assert json.loads(found.data(id)) == expected
            assert json.loads(found.stored(id)) == own | {"aionotify": options}
            assert decode(found.stored(id)).data(id) == found.data(id)


def test_what_clients_get_is_byte_for_byte_what_was_published_without_the_options() -> None:
    text = '{ "recipient_id": "42" ,"n":1.50e3, "aionotify" : {"expires_in": 5}, "s": "\\u0041" }'
    shown = '{ "recipient_id": "42" ,"n":1.50e3, "s": "\\u0041" }'
    assert decode(text.encode()).data("42").decode() == shown
    assert decode(text.encode()).stored("42").decode() == text


def test_a_collapse_key_is_on_one_line_in_whatever_splits_lines() -> None:
    data = decode(event({"collapse": "a\u2028b\n"})).data("42")
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data)["aionotify"] == {"collapse": "a\u2028b\n"}


@pytest.mark.parametrize("name", [r"aionotif\u0079", r"\u0061ionotify"])
def test_an_escape_in_the_name_hides_nothing(name: str) -> None:
    found = decode(f'{{"recipient_id": "42", "{name}": {{"expires_in": 5}}}}'.encode())
    assert found.options == Options(expires_in=5)
    assert found.data("42") == b'{"recipient_id": "42"}'


def test_an_event_without_options_is_what_was_published() -> None:
    message = b'{"recipient_id": "42", "data": {"aionotify": {"foo": 1}}}'
    found = decode(message)
    assert (found.options, found.data("42"), found.stored("42")) == (None, message, message)


@given(st.floats(0, 1000, exclude_min=True), st.integers(-(10**9), 10**10))
@example(5.0, 5 * SECOND)
def test_an_event_is_shown_until_it_is_as_old_as_it_may_be(expires_in: float, age: int) -> None:
    """By Redis' clock; while that is not known, it is."""
    entry = Entry(2 * 10**15, 0, decode(event({"expires_in": expires_in})))
    assert (entry.shown(entry.position + age) is None) == (age >= expires_in * SECOND)
    assert entry.shown(0) is entry.event


def test_an_event_that_does_not_expire_is_shown_at_any_age() -> None:
    for options in ({}, {"collapse": "k"}):
        entry = Entry(2, 0, decode(event(options)))
        assert entry.shown(9 * 10**15) is entry.event
    assert Entry(2, 0, None).shown(0) is None


@pytest.mark.parametrize("to", [{"recipient_id": "*"}, {"recipient_id": "1", "group_id": "g"}])
def test_only_users_can_be_away(to: dict[str, str]) -> None:
    message = json.dumps({**to, "aionotify": {"away": 5}}).encode()
    assert problems(message) == {
        "aionotify.away": "is for events for users, not for groups or everyone"
    }
