"""Settings that belong together, and what may be in them beside each other."""

from typing import Any

import pytest

from aionotify.config import (
    Config,
    PublishKey,
)
from aionotify.config.sections import RIGHTS
from tests.config.helpers import KEY, problems_of


def jwt(**settings: object) -> dict[str, Any]:
    return {"auth": {"method": "jwt", "jwt": settings}}


@pytest.mark.parametrize(
    ("mapping", "problems"),
    [
        (
            jwt(),
            {
                "auth.jwt": "expected exactly one of key, key_file and jwks_url, got none",
                "auth.jwt.algorithms": "expected at least one with auth.method jwt, got none",
            },
        ),
        (
            jwt(key="k", key_file="/k", algorithms=["RS256"]),
            {
                "auth.jwt": "expected exactly one of key, key_file and jwks_url,"
                " got key and key_file"
            },
        ),
        (
            jwt(key="k", algorithms=["HS256", "RS256"]),
            {
                "auth.jwt.algorithms": "expected either shared-secret (HS) or public-key ones,"
                " got both"
            },
        ),
        (
            jwt(jwks_url="https://a.example/jwks", algorithms=["HS256"]),
            {
                "auth.jwt.algorithms": "expected public-key ones with jwks_url,"
                " got shared-secret (HS) ones"
            },
        ),
        (
            {"server": {"workers": 2}, "redis": {"url": "embedded://"}},
            {"server.workers": "expected 1 with embedded://, which belongs to one process"},
        ),
        (
            {"server": {"drain": 2.5, "drain_delay": 3}},
            {"server.drain_delay": "expected no more than server.drain, 2.5, got 3"},
        ),
        (
            {"redis": {"channel": "aionotify:control"}},
            {
                "redis.channel": "expected one that does not begin with aionotify:"
                " as our own channels do"
            },
        ),
        (
            {"redis": {"channel": "mine:{42}", "prefix": "mine"}},
            {"redis.channel": "expected one that does not begin with mine: as our own channels do"},
        ),
        (
            {"redis": {"channel": "mine@7:control", "prefix": "mine"}},  # in database 7
            {"redis.channel": "expected one that does not begin with mine: as our own channels do"},
        ),
        (
            {"admin": {"publish_keys": [KEY, {"key": KEY, "recipients": "shop-"}]}},
            {"admin.publish_keys": "the same key appears twice"},
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    mapping: dict[str, Any], problems: dict[str, str]
) -> None:
    assert problems_of(mapping) == problems


@pytest.mark.parametrize("algorithm", ["none", "None", "HS1", "", None])
def test_a_token_without_a_signature_can_never_be_accepted(algorithm: object) -> None:
    problems = problems_of(jwt(key="k", algorithms=[algorithm]))
    assert problems["auth.jwt.algorithms.0"].startswith("expected one of HS256, HS384, HS512, ")


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "shared secret", "algorithms": ["HS256", "HS512"]},
        {"key_file": "/etc/key.pem", "algorithms": ["RS256", "ES256"]},
        {"jwks_url": "https://a.example/jwks", "algorithms": ["EdDSA"]},
    ],
)
def test_one_key_and_its_algorithms_are_accepted(settings: dict[str, Any]) -> None:
    assert Config.from_mapping(jwt(**settings)).auth.method == "jwt"


def test_a_secret_is_not_in_the_repr() -> None:
    config = Config.from_mapping(
        {
            "auth": {"jwt": {"key": "hunter2-jwt"}},
            "admin": {"publish_keys": ["hunter2-first-key", {"key": "hunter2-second-key"}]},
            "redis": {"url": "redis://user:hunter2@host"},
        }
    )
    assert config.auth.jwt.key == "hunter2-jwt"
    assert "hunter2" not in repr(config)
    assert "8001" in repr(config)


def test_publish_keys_may_be_limited_to_recipients() -> None:
    config = Config.from_mapping(
        {"admin": {"publish_keys": [KEY, {"key": KEY + "2", "recipients": "shop-"}]}}
    )
    assert config.admin.publish_keys == (PublishKey(KEY), PublishKey(KEY + "2", "shop-"))


@pytest.mark.parametrize("rights", [["admin"], ["revoke", "admin"], list(RIGHTS)])
def test_publish_keys_may_have_any_rights_in_any_order(rights: list[str]) -> None:
    config = Config.from_mapping({"admin": {"publish_keys": [{"key": KEY, "rights": rights}]}})
    assert config.admin.publish_keys == (PublishKey(KEY, rights=frozenset(rights)),)


@pytest.mark.parametrize("channel", ["aionotify", "aionotify.events", "other:aionotify:control"])
def test_a_channel_that_is_not_like_one_of_ours_is_accepted(channel: str) -> None:
    assert Config.from_mapping({"redis": {"channel": channel}}).redis.channel == channel
