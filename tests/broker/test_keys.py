"""Names in Redis: whatever users and keys are called, nobody's name is another's."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.broker.keys import Keys
from aionotify.config import RedisConfig
from aionotify.events.group import GroupId, shard_of

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


def test_in_another_database_channels_have_its_number_and_keys_do_not() -> None:
    """Pub/sub knows no databases."""
    third = Keys("aionotify", database=3)
    assert (third.live("42"), third.control) == ("aionotify@3:{42}", "aionotify@3:control")
    assert third.check("x") == "aionotify@3:check:x"
    assert third.ephemeral == "push_notifications@3"
    for name in ("inbox", "ticket", "answer"):
        assert getattr(third, name)("42") == getattr(keys, name)("42")
    assert third.idempotency("42", "k") == keys.idempotency("42", "k")
    assert (third.epoch, third.numbers) == (keys.epoch, keys.numbers)


@pytest.mark.parametrize(
    ("config", "ephemeral", "control"),
    [
        ({}, "push_notifications", "aionotify:control"),
        ({"url": "redis://h/5", "prefix": "p"}, "push_notifications@5", "p@5:control"),
        ({"url": "redis://h/5", "channel": "mine"}, "mine", "aionotify@5:control"),
        ({"url": "unix:///s?db=2"}, "push_notifications@2", "aionotify@2:control"),
        ({"url": "redis+sentinel://h/main/4"}, "push_notifications@4", "aionotify@4:control"),
        ({"url": "embedded://"}, "push_notifications", "aionotify:control"),
    ],
)
def test_names_are_what_the_configuration_asks_for(
    config: dict[str, Any], ephemeral: str, control: str
) -> None:
    found = Keys.of(RedisConfig(**config))
    assert (found.ephemeral, found.control) == (ephemeral, control)


def test_two_prefixes_have_nothing_in_common() -> None:
    other = Keys("other", "push_notifications")
    assert other.inbox("42") != keys.inbox("42")
    assert other.control != keys.control


# --- groups ---------------------------------------------------------------------------------------


def of_group(group: str, key: str) -> list[str]:
    receiver = GroupId(group)
    return [
        keys.inbox(receiver),
        keys.idempotency(receiver, key),
        keys.collapse(receiver),
        keys.members(group),
        keys.inbox(shard_of(group)),
        keys.live(receiver),
    ]


@given(texts, texts, texts, texts)
def test_no_two_groups_or_users_have_a_name_in_common(
    one: str, key: str, other: str, other_key: str
) -> None:
    first, second = of_group(one, key), of_group(other, other_key)
    assert len(set(first)) == len(first)
    assert not {*first} & {*all_of(other, other_key)}
    if one != other:
        assert not {*first[:4]} & {*second}
    elif key != other_key:
        assert first[1] != second[1]


@given(texts, texts)
def test_all_of_a_group_is_in_the_slot_of_its_shard(group: str, key: str) -> None:
    """Which no user's is."""
    tags = {name[name.index("{") + 1 : name.index("}")] for name in of_group(group, key)}
    assert tags == {f"%g{shard_of(group)}"}
    user = keys.inbox(group)
    assert user[user.index("{") + 1 : user.index("}")] not in tags


def test_the_names_of_a_group_are_what_the_documentation_says() -> None:
    number = shard_of("team:7")
    assert of_group("team:7", "k") == [
        f"aionotify:{{%g{number}}}:{{team:7}}:inbox",
        f"aionotify:{{%g{number}}}:{{team:7}}:id:k",
        f"aionotify:{{%g{number}}}:{{team:7}}:collapse",
        f"aionotify:{{%g{number}}}:{{team:7}}:members",
        f"aionotify:{{%g{number}}}:positions",
        f"aionotify:{{%g{number}}}",
    ]
    assert Keys("aionotify", database=3).live(1) == "aionotify@3:{%g1}"
