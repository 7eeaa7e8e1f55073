"""Kinds of settings: what each takes, and what is said about anything else."""

from functools import partial

import pytest

from aionotify.config import (
    SETTINGS,
    Config,
    PublishKey,
    Setting,
)
from aionotify.errors import ConfigError
from tests.config.helpers import KEY, nested, outcome_of, problems_of


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("server.port", "8001", "expected a whole number from 0 to 65535, got '8001'"),
        ("server.port", 80.0, "expected a whole number from 0 to 65535, got 80.0"),
        ("server.port", True, "expected a whole number from 0 to 65535, got true"),
        ("server.port", None, "expected a whole number from 0 to 65535, got null"),
        ("server.port", 65536, "expected a whole number from 0 to 65535, got 65536"),
        ("server.port", -1, "expected a whole number from 0 to 65535, got -1"),
        ("server.port", [1], "expected a whole number from 0 to 65535, got [1]"),
        ("server.workers", 0, "expected a whole number from 1 to 256, got 0"),
        ("server.drain", "10s", "expected a number of seconds from 0 to 3600, got '10s'"),
        ("server.drain", False, "expected a number of seconds from 0 to 3600, got false"),
        ("server.drain", -0.1, "expected a number of seconds from 0 to 3600, got -0.1"),
        ("server.drain", float("nan"), "expected a number of seconds from 0 to 3600, got nan"),
        ("server.drain", float("inf"), "expected a number of seconds from 0 to 3600, got inf"),
        ("server.host", "", "expected a host name, an IP address or unix:/path, got ''"),
        ("server.host", "a b", "expected a host name, an IP address or unix:/path, got 'a b'"),
        (
            "server.host",
            "unix:run/a.sock",
            "expected a host name, an IP address or unix:/path, got 'unix:run/a.sock'",
        ),
        (
            "admin.port",
            "none",
            "expected a whole number from 0 to 65535, or null, got 'none'",
        ),
        ("auth.method", "oauth", "expected one of main_host, jwt, got 'oauth'"),
        ("auth.cookie", "a=b", "expected the name of a cookie, or null, got 'a=b'"),
        (
            "auth.ticket_ttl",
            0,
            "expected a whole number of seconds from 1 to 3600, got 0",
        ),
        ("auth.main_host.path", "api", "expected a path that begins with /, got 'api'"),
        ("auth.main_host.path", "/a?b", "expected a path that begins with /, got '/a?b'"),
        (
            "auth.main_host.timeout",
            0,
            "expected a number of seconds from 0.05 to 60, got 0",
        ),
        (
            "auth.main_host.max_concurrency",
            0,
            "expected a whole number from 1 to 10000, got 0",
        ),
        ("redis.channel", "", "expected text of 1 to 256 characters, or null, got ''"),
        ("redis.channel", "a\nb", "expected text of 1 to 256 characters, or null, got 'a\\nb'"),
        ("redis.prefix", "{a}", "expected 1 to 64 letters, digits, - . or _, got '{a}'"),
        (
            "events.max_bytes",
            255,
            "expected a whole number of bytes from 256 to 16777216, got 255",
        ),
        ("inbox.max_events", 0, "expected a whole number from 1 to 100000, got 0"),
        (
            "stream.buffer",
            4095,
            "expected a whole number of bytes from 4096 to 16777216, got 4095",
        ),
        ("stream.hand_over", 1, "expected true or false, got 1"),
        ("stream.hand_over", "true", "expected true or false, got 'true'"),
        ("stream.heartbeat", 91, "expected a number of seconds from 0.1 to 90, got 91"),
        ("log.level", "verbose", "expected one of debug, info, warning, error, got 'verbose'"),
        ("log.format", 1, "expected one of text, json, got 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(
    path: str, value: object, problem: str
) -> None:
    assert problems_of(nested(path, value)) == {path: problem}


@pytest.mark.parametrize(
    "value",
    [
        "localhost",
        "ftp://host",
        "http://",
        "http:///path",
        "http://user:hunter2@host",
        "http://host:0",
        "http://host:99999",
        "http://host:hunter2",
        "http://[::1",
        "http://ho st",
        "http://host\\path",
        "http://host/\n/",
        "http://host/#part",
        7,
    ],
)
def test_the_main_host_needs_a_plain_http_address(value: object) -> None:
    problems = problems_of(nested("auth.main_host.url", value))
    assert list(problems) == ["auth.main_host.url"]
    assert problems["auth.main_host.url"].startswith(
        "expected an http:// or https:// address without user name and password, got "
    )


@pytest.mark.parametrize("value", ["", "127.0.0.1:6379", "http://a", "redis:/a", "redis://a\n/", 1])
def test_redis_needs_an_address_of_a_known_scheme(value: object) -> None:
    problem = problems_of(nested("redis.url", value))["redis.url"]
    assert problem.startswith("expected an address that begins with redis://, rediss://, unix://")


OWN_SCHEMES = (
    "capacitor://localhost",
    "tauri://localhost",
    "app://obsidian.md",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://5f0c2c11-0000-4000-8000-000000000000",
    "app://localhost:443",  # the default port of another scheme
)


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
        "capacitor://",
        "capacitor://localhost/",
        "file://",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:0",
        "https://a:b:c",
        "https://user@app.example.com",
        None,
        5,
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(value: object) -> None:
    problems = problems_of(nested("cors.origins", ["https://good.example", value]))
    assert list(problems) == ["cors.origins.1"]
    assert problems["cors.origins.1"].startswith(
        "expected an origin such as https://app.example.com, without a path, got "
    )


@pytest.mark.parametrize("value", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "", 10])
def test_a_trusted_proxy_that_is_no_network_is_refused(value: object) -> None:
    problems = problems_of(nested("server.trusted_proxies", [value]))
    assert problems == {
        "server.trusted_proxies.0": "expected an IP network such as 10.0.0.0/8 or 2001:db8::/32,"
        f" got {value!r}"
    }


@pytest.mark.parametrize(
    "value",
    [
        "fifteen-letters",
        "with a space in it",
        "ümlaut-ümlaut-ümlaut",
        "x" * 257,
        None,
        1234567890123456,
        ["a-key-in-a-list-in-a-list"],
        {"recipients": "shop-"},
        {"key": KEY, "prefix": "shop-"},
        {"key": KEY, "recipients": 5},
        {"key": KEY, "recipients": "a\nb"},
        {"rights": ["publish"]},
    ],
)
def test_a_wrong_publish_key_is_refused_and_not_shown(value: object) -> None:
    problems = problems_of(nested("admin.publish_keys", [KEY, value]))
    assert list(problems) == ["admin.publish_keys.1"]
    assert problems["admin.publish_keys.1"].startswith(
        "expected a key of 16 to 256 characters (letters, digits, - . _ ~ + /), alone or as"
        " {key: ..., recipients: prefix, rights: [...]}, got "
    )
    assert str(value) not in problems["admin.publish_keys.1"] or value is None


@pytest.mark.parametrize(
    ("rights", "place", "problem"),
    [
        ([], "", "expected at least one, got none"),
        (["publish", "revoke", "publish"], "", "the same right appears twice"),
        ("publish", "", "expected a list, each item one of publish, presence, "),
        ({"publish": True}, "", "expected a list, each item one of publish, presence, "),
        (None, "", "expected a list, each item one of publish, presence, "),
        (["publish", "Admin"], ".1", "expected one of publish, presence, revoke, read, groups, "),
        (["*"], ".0", "expected one of publish, presence, revoke, read, groups, admin, got "),
        ([None], ".0", "expected one of publish, presence, revoke, read, groups, admin, got null"),
        (
            [["publish"]],
            ".0",
            "expected one of publish, presence, revoke, read, groups, admin, got",
        ),
        ([KEY], ".0", "expected one of publish, presence, revoke, read, groups, admin, got text"),
    ],
)
def test_wrong_rights_are_refused_at_their_place_and_not_shown(
    rights: object, place: str, problem: str
) -> None:
    problems = problems_of(nested("admin.publish_keys", [{"key": KEY, "rights": rights}]))
    assert list(problems) == [f"admin.publish_keys.0.rights{place}"]
    [text] = problems.values()
    assert text.startswith(problem)
    assert KEY not in text


def test_an_empty_list_and_a_text_are_not_the_same() -> None:
    problems = problems_of(nested("cors.origins", "https://a.example"))
    assert problems["cors.origins"].startswith("expected a list, each item an origin")


@pytest.mark.parametrize("item", [s for s in SETTINGS.values() if not s.field.quoted])
def test_a_value_that_may_hold_a_secret_is_not_quoted_when_it_is_wrong(item: Setting) -> None:
    for wrong in ("\nhunter2", "ftp://a:hunter2@b", ["hunter2"], {"hunter2": 1}, "hunter2" * 10000):
        outcome = outcome_of(partial(Config.from_mapping, nested(item.path, wrong)))
        if isinstance(outcome, ConfigError):
            assert "hunter2" not in str(outcome)
        else:
            assert not item.field.secret or "hunter2" not in repr(outcome)


def test_networks_and_origins_get_the_form_in_which_they_are_compared() -> None:
    config = Config.from_mapping(
        {
            "server": {"trusted_proxies": ["10.1.2.3", "2001:DB8::/32"]},
            "cors": {"origins": ["HTTPS://App.Example.com", "http://[::1]:8080", *OWN_SCHEMES]},
        }
    )
    assert config.server.trusted_proxies == ("10.1.2.3/32", "2001:db8::/32")
    assert config.cors.origins == ("https://app.example.com", "http://[::1]:8080", *OWN_SCHEMES)


@pytest.mark.parametrize("value", ["", "unix:", "unix:relative.sock"])
def test_a_unix_socket_has_an_absolute_path(value: str) -> None:
    problem = problems_of(nested("server.host", value))["server.host"]
    assert problem.startswith("expected a host name, an IP address or unix:/path, got ")


def test_a_key_of_a_publisher_ends_before_a_newline_too() -> None:
    keys = [f"{KEY}\n", {"key": f"{KEY}2\r\n", "recipients": "x"}]
    made = Config.from_mapping({"admin": {"publish_keys": keys}}).admin.publish_keys
    assert made == (PublishKey(KEY), PublishKey(f"{KEY}2", "x"))
