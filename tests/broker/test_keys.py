"""Names in Redis: whatever users and keys are called, nobody's name is another's."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aionotify.broker.keys import Keys

texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("{}:%*25BD7id"), max_size=12
)
keys = Keys("aionotify", "push_notifications")


def all_of(recipient: str, key: str) -> list[str]:
    return [
        keys.live(recipient),
        keys.inbox(recipient),
        keys.idempotency(recipient, key),
        keys.ticket(key),
        keys.control,
        keys.epoch,
        keys.ephemeral,
    ]


@given(texts, texts, texts, texts)
def test_names_are_never_the_same(one: str, key: str, other: str, other_key: str) -> None:
    first, second = all_of(one, key), all_of(other, other_key)
    assert len(set(first)) == len(first)
    assert not {*first[:3]} & {*second[3:]}
    if one != other:
        assert not {*first[:3]} & {*second[:3]}
    elif key != other_key:
        assert first[2] != second[2]


@given(texts, texts, texts)
def test_keys_of_a_recipient_are_in_one_slot(recipient: str, key: str, other_key: str) -> None:
    """A cluster hashes what is between the first brace and the next closing one."""
    tags = {
        match[1]
        for name in (*all_of(recipient, key)[:3], *all_of(recipient, other_key)[:3])
        if (match := re.search(r"\{(.*?)\}", name, re.DOTALL))
    }
    assert len(tags) == 1


def test_names_are_what_the_documentation_says() -> None:
    assert all_of("42", "k") == [
        "aionotify:{42}",
        "aionotify:{42}:inbox",
        "aionotify:{42}:id:k",
        "aionotify:ticket:k",
        "aionotify:control",
        "aionotify:epoch",
        "push_notifications",
    ]
    assert keys.live("a{b}%") == "aionotify:{a%7Bb%7D%25}"


def test_two_prefixes_have_nothing_in_common() -> None:
    other = Keys("other", "push_notifications")
    assert other.inbox("42") != keys.inbox("42")
    assert other.control != keys.control
