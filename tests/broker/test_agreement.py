"""What all must have in common, as it is kept and as a difference is said."""

import pytest

from aionotify.broker.agreement import differences, inbox_setting, joined, node_settings, strangers
from aionotify.config import Config

JWT = {"method": "jwt", "jwt": {"jwks_url": "https://a/keys?secret", "algorithms": ["RS256"]}}


@pytest.mark.parametrize(
    ("config", "users"),
    [
        ({}, "http://127.0.0.1:8000/api/v1/is_user_auth/"),
        ({"auth": {"main_host": {"url": "https://a/?key=secret", "path": "/me"}}}, "https://a/me"),
        ({"auth": JWT}, "jwt jwks_url=https://a/keys"),
        (
            {
                "auth": {
                    "method": "jwt",
                    "jwt": {
                        "key": "secret" * 8,
                        "algorithms": ["HS256"],
                        "issuer": "us",
                        "audience": "them",
                    },
                }
            },
            "jwt issuer=us audience=them",
        ),
    ],
)
def test_who_identifies_users_is_named_without_a_secret(
    config: dict[str, object], users: str
) -> None:
    settings = node_settings(Config.from_mapping(config))
    assert settings == ("channel push_notifications", "ingest false", f"users {users}")


def test_an_application_that_identifies_users_itself_agrees_with_others() -> None:
    settings = node_settings(Config(), own_authenticator=True)
    assert settings == ("channel push_notifications", "ingest false")


def test_a_difference_has_both_sides_and_what_is_equal_is_none() -> None:
    ours = (inbox_setting(60, 100), "channel a", "ingest true", "users x y")
    assert differences(ours, ours) == []
    theirs = ["60 100", "channel b c", "30 100", "ingest false", "users z"]
    assert differences(ours, theirs) == [
        "somebody has redis.channel b c, and this node a",
        "somebody keeps 100 events for 30 s, and this node 100 for 60 s",
        "somebody has publish.stream false, and this node true",
        "somebody identifies users by z, and this node by x y",
    ]


def test_what_one_has_no_setting_of_is_no_difference() -> None:
    assert differences(["60 100"], ["channel b"]) == []


def test_reasons_are_joined_and_none_is_none() -> None:
    assert joined([*strangers(0, "c"), *strangers(-1, "c")]) is None
    told = "2 more listen on c than nodes of this prefix and database"
    assert joined([*strangers(2, "c"), "x"]) == f"{told}; x"
