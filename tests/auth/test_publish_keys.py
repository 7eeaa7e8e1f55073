"""Whose key a request to publish shows, and for whom it is good."""

import hmac
from contextlib import nullcontext

import pytest

from aionotify.auth import publish_keys
from aionotify.auth.publish_keys import KeyHolder, PublishKeys
from aionotify.config import PublishKey
from aionotify.config.sections import RIGHTS
from aionotify.errors import Forbidden

OLD, NEW, SHOP = "old-key-0123456789", "new-key-0123456789", "shop-key-0123456789"


@pytest.fixture
def keys() -> PublishKeys:
    return PublishKeys((PublishKey(OLD), PublishKey(NEW), PublishKey(SHOP, "shop:")))


def test_several_keys_are_good_at_once_so_that_one_can_be_replaced(keys: PublishKeys) -> None:
    assert keys.match(OLD) == keys.match(NEW) == KeyHolder(PublishKey(OLD).rights, "")


@pytest.mark.parametrize("token", ["", OLD[:-1], OLD + "x", OLD.upper(), OLD + NEW, "ü"])
def test_anything_but_a_whole_key_is_nobody_s(keys: PublishKeys, token: str) -> None:
    assert keys.match(token) is None


def test_without_keys_nobody_may_publish() -> None:
    assert not PublishKeys(())
    assert PublishKeys(()).match("") is None


@pytest.mark.parametrize(
    ("recipient", "may"),
    [("shop:7", True), ("shop:", True), ("shop", False), ("blog:7", False), ("*", False)],
)
def test_a_key_with_a_prefix_is_good_for_those_recipients_only(
    keys: PublishKeys, recipient: str, may: bool
) -> None:
    """And never for everyone."""
    publisher = keys.match(SHOP)
    assert publisher is not None
    with nullcontext() if may else pytest.raises(Forbidden, match="that begin with 'shop:'"):
        publisher.check_recipient(recipient)


@pytest.mark.parametrize("recipient", ["shop:7", "42", "*"])
def test_a_key_without_a_prefix_is_good_for_all(keys: PublishKeys, recipient: str) -> None:
    publisher = keys.match(OLD)
    assert publisher is not None
    publisher.check_recipient(recipient)


def test_a_key_without_rights_of_its_own_has_those_that_every_key_had() -> None:
    assert PublishKey(OLD).rights == {"publish", "presence", "revoke"}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_key_allows_what_its_rights_say_and_a_refusal_names_the_missing_one(right: str) -> None:
    keys = PublishKeys((PublishKey(OLD, rights=frozenset({right})),))
    holder = keys.match(OLD)
    assert holder is not None
    for other in RIGHTS:
        assert keys.allow(other) is (other == right)
        with nullcontext() if other == right else pytest.raises(Forbidden, match=f"'{other}'"):
            holder.check_right(other)


@pytest.mark.parametrize("token", [OLD, SHOP, "wrong"])
def test_every_key_is_compared_whichever_matches_and_in_constant_time(
    keys: PublishKeys, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    lengths: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(publish_keys, "compare_digest", compare)
    keys.match(token)
    assert lengths == [(32, 32)] * 3
