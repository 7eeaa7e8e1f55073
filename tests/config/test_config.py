"""The configuration: every source, every wrong value, and what is said about it."""

import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aionotify.config import (
    SETTINGS,
    Config,
    PublishKey,
    Setting,
    load_config,
    overlooked,
    variable,
)
from aionotify.errors import ConfigError

ROOT = Path(__file__).parents[2]
KEY = "correct-horse-battery-staple"
Write = Callable[[str], Path]


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """Write a configuration file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def problems_of(mapping: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        Config.from_mapping(mapping)
    return caught.value.problems


def outcome_of(load: Callable[[], Config]) -> Config | ConfigError:
    try:
        return load()
    except ConfigError as error:
        return error


def nested(path: str, value: object) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


# What is wrong


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
        ("redis.channel", "", "expected text of 1 to 256 characters, got ''"),
        ("redis.channel", "a\nb", "expected text of 1 to 256 characters, got 'a\\nb'"),
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
        "http://host/\n",
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


@pytest.mark.parametrize("value", ["", "127.0.0.1:6379", "http://a", "redis:/a", "redis://a\n", 1])
def test_redis_needs_an_address_of_a_known_scheme(value: object) -> None:
    problem = problems_of(nested("redis.url", value))["redis.url"]
    assert problem.startswith("expected an address that begins with redis://, rediss://, unix://")


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "null",
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
    ],
)
def test_a_wrong_publish_key_is_refused_and_not_shown(value: object) -> None:
    problems = problems_of(nested("admin.publish_keys", [KEY, value]))
    assert list(problems) == ["admin.publish_keys.1"]
    assert problems["admin.publish_keys.1"].startswith(
        "expected a key of 16 to 256 characters (letters, digits, - . _ ~ + /), alone or as"
        " {key: ..., recipients: prefix}, got "
    )
    assert str(value) not in problems["admin.publish_keys.1"] or value is None


def test_an_empty_list_and_a_text_are_not_the_same() -> None:
    problems = problems_of(nested("cors.origins", "https://a.example"))
    assert problems["cors.origins"].startswith("expected a list, each item an origin")


def test_all_problems_are_told_at_once() -> None:
    problems = problems_of(
        {
            "server": {"port": 0.5, "prot": 1},
            "auth": {"main_host": {"timeout": "x"}, "jwt": {"algorithms": ["none"]}},
            "stream": "fast",
            "nothing": {},
        }
    )
    assert list(problems) == [
        "auth.jwt.algorithms.0",
        "auth.main_host.timeout",
        "nothing",
        "server.port",
        "server.prot",
        "stream",
    ]


def test_an_error_is_one_block_that_names_the_file(file: Write) -> None:
    path = file("server: {port: x}\nlog: {level: loud}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert str(caught.value) == (
        f"{path} is not usable:\n"
        "  log.level: expected one of debug, info, warning, error, got 'loud'\n"
        "  server.port: expected a whole number from 0 to 65535, got 'x'"
    )


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("server.prot", "unknown; did you mean port?"),
        ("strem", "unknown; did you mean stream?"),
        ("stream.hartbeat", "unknown; did you mean heartbeat?"),
        ("server.heartbeat", "unknown; did you mean stream.heartbeat?"),
        ("heartbeat", "unknown; did you mean stream.heartbeat?"),
        ("auth.main_host.cache", "unknown; did you mean cache_ttl?"),
        ("cors.zebra", "unknown; known here: origins"),
    ],
)
def test_an_unknown_key_is_refused_with_what_may_have_been_meant(path: str, hint: str) -> None:
    assert problems_of(nested(path, 1)) == {path: hint}


def test_a_section_has_to_be_a_mapping_and_its_text_is_not_shown() -> None:
    assert problems_of({"redis": "redis://:hunter2@host"}) == {"redis": "expected a mapping"}


def test_an_empty_section_has_its_defaults() -> None:
    assert Config.from_mapping({"server": None, "auth": {"jwt": None}}) == Config()


# Rules between settings


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


# Secrets


SECRETS: dict[str, Any] = {
    "auth": {"jwt": {"key": "hunter2-jwt"}},
    "admin": {"publish_keys": ["hunter2-first-key", {"key": "hunter2-second-key"}]},
    "redis": {"url": "redis://user:hunter2@host"},
}


def test_a_secret_is_not_in_the_repr() -> None:
    config = Config.from_mapping(SECRETS)
    assert config.auth.jwt.key == "hunter2-jwt"
    assert "hunter2" not in repr(config)
    assert "8001" in repr(config)


@pytest.mark.parametrize("item", [s for s in SETTINGS.values() if not s.kind.quoted])
def test_what_may_hold_a_secret_is_not_quoted_when_it_is_wrong(item: Setting) -> None:
    for wrong in ("\nhunter2", "ftp://a:hunter2@b", ["hunter2"], {"hunter2": 1}, "hunter2" * 10000):
        outcome = outcome_of(partial(Config.from_mapping, nested(item.path, wrong)))
        if isinstance(outcome, ConfigError):
            assert "hunter2" not in str(outcome)
        else:
            assert not item.kind.secret or "hunter2" not in repr(outcome)


# Values


def test_the_defaults_are_valid() -> None:
    defaults = {path: item.default for path, item in SETTINGS.items()}
    merged: dict[str, Any] = {}
    for path, value in defaults.items():
        *sections, name = path.split(".")
        below = merged
        for section in sections:
            below = below.setdefault(section, {})
        below[name] = value
    assert Config.from_mapping(merged) == Config.from_mapping({}) == Config()


def test_a_configuration_cannot_be_changed_but_replaced() -> None:
    config = Config()
    with pytest.raises(FrozenInstanceError):
        config.server.port = 1  # type: ignore[misc]
    changed = replace(config, server=replace(config.server, port=9000))
    assert (changed.server.port, config.server.port) == (9000, 8001)


def test_publish_keys_may_be_limited_to_recipients() -> None:
    config = Config.from_mapping(
        {"admin": {"publish_keys": [KEY, {"key": KEY + "2", "recipients": "shop-"}]}}
    )
    assert config.admin.publish_keys == (PublishKey(KEY), PublishKey(KEY + "2", "shop-"))


def test_networks_and_origins_get_the_form_in_which_they_are_compared() -> None:
    config = Config.from_mapping(
        {
            "server": {"trusted_proxies": ["10.1.2.3", "2001:DB8::/32"]},
            "cors": {"origins": ["HTTPS://App.Example.com", "http://[::1]:8080"]},
        }
    )
    assert config.server.trusted_proxies == ("10.1.2.3/32", "2001:db8::/32")
    assert config.cors.origins == ("https://app.example.com", "http://[::1]:8080")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.sampled_from([p for path in SETTINGS for p in path.split(".")]) | st.text(),
                below,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_given_is_a_configuration_or_a_configuration_error(value: object) -> None:
    mapping = {"server": value, "auth": value, "cors": value}
    outcome = outcome_of(partial(Config.from_mapping, mapping))
    assert isinstance(outcome, Config) or outcome.problems


# YAML


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server:\n  port: 1\n  port: 2\n", {"line 3, column 3": "the key port appears twice"}),
        ("server: {}\nserver: {}\n", {"line 2, column 1": "the key server appears twice"}),
        ("? [a]\n: 1\n", {"line 1, column 3": "a key must be a name"}),
        ("server: &a {port: 1}\nlog: *a\n", {"line 2, column 6": "an alias is not supported here"}),
        ("a: &a [*a]\n", {"line 1, column 8": "an alias is not supported here"}),
        (
            "log: !!python/object:os.system {}\n",
            {"line 1, column 6": "a tag is not supported here"},
        ),
        ("redis: !vault abc\n", {"line 1, column 8": "a tag is not supported here"}),
        ("server: {port: 1\n", {"line 2, column 1": "expected ',' or '}', but got '<stream end>'"}),
        (f"server: {{port: {'9' * 5000}}}\n", {"line 1, column 16": "too many digits"}),
        ("- server\n", {"file": "expected a mapping, got a list"}),
        ("server\n", {"file": "expected a mapping, got text"}),
        ("[" * 20000, {"file": "nested too deeply"}),
        ("a: \x07\n", {"file": "expected text in UTF-8 without control characters"}),
        ("#" * (1 << 20) + "\n", {"file": "expected at most 1048576 bytes"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_is_not_plain_yaml_is_refused_with_the_place(
    file: Write, text: str, problem: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file(text), environ={})
    assert caught.value.problems == problem


def test_a_second_document_is_refused(file: Write) -> None:
    with pytest.raises(ConfigError, match="line 2, column 1: but found another document"):
        load_config(file("server: {}\n---\nserver: {}\n"), environ={})


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"server: \xff\xfe")
    with pytest.raises(ConfigError, match="expected text in UTF-8"):
        load_config(path, environ={})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.yaml is not usable:\n  file: cannot be read: No"):
        load_config(tmp_path / "no.yaml", environ={})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("server: {port: 010}", "server.port", 10),  # 8 in YAML 1.1
        ("server: {port: 0x50}", "server.port", 80),
        ("server: {port: 0o17}", "server.port", 15),
        ("server: {drain: 1e1}", "server.drain", 10.0),  # text in PyYAML
        ("server: {drain: .5}", "server.drain", 0.5),
        ("redis: {prefix: on}", "redis.prefix", "on"),  # True in YAML 1.1
        ("redis: {channel: 'yes'}", "redis.channel", "yes"),
        ("redis: {channel: no}", "redis.channel", "no"),  # False in YAML 1.1
        ("redis: {channel: 1:30}", "redis.channel", "1:30"),  # 90 in YAML 1.1
        ("redis: {channel: 2026-11-23}", "redis.channel", "2026-11-23"),  # a date in YAML 1.1
        ("redis: {channel: 1_000}", "redis.channel", "1_000"),  # 1000 in YAML 1.1
        ("redis: {channel: =}", "redis.channel", "="),
        ('redis: {channel: "5"}', "redis.channel", "5"),
        ("auth: {cookie: ~}", "auth.cookie", None),
        ("auth: {cookie: }", "auth.cookie", None),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(file: Write, text: str, path: str, value: object) -> None:
    found: Any = load_config(file(text), environ={})
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_all_defaults(file: Write, text: str) -> None:
    assert load_config(file(text), environ={}) == Config()


@given(st.text(max_size=60))
def test_whatever_text_is_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = outcome_of(partial(load_config, path, environ={}))
    assert isinstance(outcome, Config) or outcome.problems


# Sources


def test_flags_count_more_than_variables_than_credentials_than_the_file(
    file: Write, tmp_path: Path
) -> None:
    (tmp_path / "server.port").write_text("2\n")
    (tmp_path / "redis.prefix").write_text("credential\n")
    (tmp_path / "server.workers").write_text("2\n")
    path = file("server: {port: 1, workers: 1, drain: 1}\nredis: {prefix: file, channel: file}\n")
    config = load_config(
        path,
        environ={
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "AIONOTIFY_SERVER__PORT": "3",
            "AIONOTIFY_SERVER__WORKERS": "3",
        },
        overrides={"server.port": "4"},
    )
    assert config.server.port == 4
    assert config.server.workers == 3
    assert config.redis.prefix == "credential"
    assert config.server.drain == 1
    assert config.redis.channel == "file"


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("SERVER__PORT", "010", "server.port", 10),
        ("SERVER__DRAIN", "2.5", "server.drain", 2.5),
        ("AUTH__MAIN_HOST__URL", "http://users:8000", "auth.main_host.url", "http://users:8000"),
        ("ADMIN__PORT", "null", "admin.port", None),
        ("ADMIN__PORT", "", "admin.port", None),
        ("AUTH__COOKIE", "", "auth.cookie", None),
        ("REDIS__CHANNEL", "5", "redis.channel", "5"),
        ("REDIS__CHANNEL", "true", "redis.channel", "true"),
        ("CORS__ORIGINS", "", "cors.origins", ()),
        ("CORS__ORIGINS", "[]", "cors.origins", ()),
        ("CORS__ORIGINS", "http://a, http://b", "cors.origins", ("http://a", "http://b")),
        ("CORS__ORIGINS", '["http://a","http://b"]', "cors.origins", ("http://a", "http://b")),
        (
            "ADMIN__PUBLISH_KEYS",
            f"[{{key: {KEY}, recipients: shop-}}]",
            "admin.publish_keys",
            (PublishKey(KEY, "shop-"),),
        ),
        ("AUTH__JWT__KEY_FILE", "/etc/key.pem", "auth.jwt.key_file", "/etc/key.pem"),
    ],
)
def test_every_setting_has_a_variable(name: str, text: str, path: str, value: object) -> None:
    found: Any = load_config(environ={f"AIONOTIFY_{name}": text})
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize("item", SETTINGS.values(), ids=str)
def test_the_default_of_every_setting_can_be_given_as_text(item: Setting) -> None:
    assert load_config(environ={variable(item.path): item.default_text}) == Config()
    assert load_config(environ={}, overrides={item.path: item.default_text}) == Config()


def test_a_wrong_value_is_told_with_the_source_that_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "server.workers").write_text("many")
    with pytest.raises(ConfigError) as caught:
        load_config(
            environ={
                "CREDENTIALS_DIRECTORY": str(tmp_path),
                "AIONOTIFY_SERVER__PORT": "x",
                "AIONOTIFY_CORS__ORIGINS": "http://a,b",
                "AIONOTIFY_SERVER__TRUSTED_PROXIES": "[",
            },
            overrides={"server.drain": "x", "server.prot": "1"},
        )
    assert caught.value.problems == {
        "cors.origins.1": "expected an origin such as https://app.example.com, without a path,"
        " got 'b' (AIONOTIFY_CORS__ORIGINS)",
        "server.drain": "expected a number of seconds from 0 to 3600, got 'x' (--server.drain)",
        "server.port": "expected a whole number from 0 to 65535, got 'x' (AIONOTIFY_SERVER__PORT)",
        "server.prot": "unknown; did you mean port?",
        "server.trusted_proxies": "expected the node content, but found '<stream end>'"
        " (AIONOTIFY_SERVER__TRUSTED_PROXIES)",
        "server.workers": "expected a whole number from 1 to 256, got 'many'"
        " (credential server.workers)",
    }


def test_an_unknown_variable_of_ours_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"AIONOTIFY_SERVER__PROT": "1", "AIONOTIFY_OTHER__THING": "hunter2"})
    assert caught.value.problems == {
        "AIONOTIFY_SERVER__PROT": "unknown; did you mean AIONOTIFY_SERVER__PORT?",
        "AIONOTIFY_OTHER__THING": "unknown",
    }


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {"AIONOTIFY_CONFIG": "/x", "AIONOTIFY_TOKEN": "x", "SERVER__PORT": "1", "PATH": ""}
    assert load_config(environ=environ) == Config()


@pytest.mark.parametrize("channel", ["aionotify", "aionotify.events", "other:aionotify:control"])
def test_a_channel_that_is_not_like_one_of_ours_is_accepted(channel: str) -> None:
    assert Config.from_mapping({"redis": {"channel": channel}}).redis.channel == channel


@pytest.mark.parametrize("item", SETTINGS.values(), ids=lambda item: str(item.path))
def test_a_variable_that_lacks_an_underscore_is_noticed(item: Setting) -> None:
    right = variable(item.path)
    wrong = right.replace("__", "_")
    environ = {wrong: "1", f"{wrong}_FILE": "/x"}
    assert overlooked(environ, SETTINGS) == {wrong: right, f"{wrong}_FILE": f"{right}_FILE"}
    assert load_config(environ=environ) == Config()


def test_a_variable_that_is_read_or_is_somebody_elses_is_not_noticed() -> None:
    """Kubernetes sets those with 8001 or SERVICE for a service of the name aionotify."""
    others = ("PORT", "PORT_8001_TCP_PORT", "SERVICE_HOST", "SERVICE_PORT", "CONFIG", "TOKEN")
    environ = dict.fromkeys([f"AIONOTIFY_{name}" for name in others], "1")
    environ |= dict.fromkeys(map(variable, SETTINGS), "1")
    assert overlooked({**environ, "SERVER_PORT": "1"}, SETTINGS) == {}


def test_a_secret_can_come_from_a_file_less_its_last_newline(tmp_path: Path) -> None:
    key, keys = tmp_path / "key", tmp_path / "keys"
    key.write_text("-----BEGIN-----\nabc\n-----END-----\n\n")
    keys.write_text(f"{KEY}\n\n{KEY}2\n")
    config = load_config(
        environ={
            "AIONOTIFY_REDIS__PREFIX_FILE": str(_written(tmp_path / "prefix", "mine\n")),
            "AIONOTIFY_ADMIN__PUBLISH_KEYS_FILE": str(keys),
            "CREDENTIALS_DIRECTORY": str(_credentials(tmp_path, "auth.jwt.key", key.read_text())),
        }
    )
    assert config.redis.prefix == "mine"
    assert config.admin.publish_keys == (PublishKey(KEY), PublishKey(f"{KEY}2"))
    assert config.auth.jwt.key == "-----BEGIN-----\nabc\n-----END-----\n"


def test_a_file_of_a_setting_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            environ={
                "AIONOTIFY_REDIS__URL_FILE": str(tmp_path / "no"),
                "AIONOTIFY_REDIS__PREFIX_FILE": str(_written(tmp_path / "a", b"\xff")),
                "AIONOTIFY_REDIS__CHANNEL_FILE": str(_written(tmp_path / "b", "x" * 70000)),
                "AIONOTIFY_SERVER__PORT_FILE": str(_written(tmp_path / "c", "1")),
                "AIONOTIFY_SERVER__PORT": "1",
                "CREDENTIALS_DIRECTORY": str(tmp_path / "no"),
            }
        )
    assert caught.value.problems == {
        "AIONOTIFY_SERVER__PORT_FILE": "expected either this or AIONOTIFY_SERVER__PORT, got both",
        "CREDENTIALS_DIRECTORY": "cannot be read: No such file or directory",
        "redis.channel": "expected a file of at most 65536 bytes (AIONOTIFY_REDIS__CHANNEL_FILE)",
        "redis.prefix": "expected text in UTF-8 (AIONOTIFY_REDIS__PREFIX_FILE)",
        "redis.url": "cannot be read: No such file or directory (AIONOTIFY_REDIS__URL_FILE)",
    }


def test_credentials_of_others_are_left_alone_and_a_misspelt_one_is_refused(
    tmp_path: Path,
) -> None:
    directory = _credentials(tmp_path, "tls.key", "x")
    assert load_config(environ={"CREDENTIALS_DIRECTORY": str(directory)}) == Config()
    _credentials(tmp_path, "admin.publish_key", KEY)
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"CREDENTIALS_DIRECTORY": str(directory)})
    assert caught.value.problems == {
        "credential admin.publish_key": "unknown; did you mean publish_keys?"
    }


def test_a_variable_does_not_hide_that_the_file_is_wrong(file: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file("server: [1]\n"), environ={"AIONOTIFY_SERVER__PORT": "1"})
    assert caught.value.problems == {"server": "expected a mapping"}


def _written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _credentials(parent: Path, name: str, text: str) -> Path:
    directory = parent / "credentials"
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    return directory


# What people read


def test_config_yaml_is_the_defaults() -> None:
    assert load_config(ROOT / "config.yaml", environ={}) == Config()


def test_config_yaml_has_every_setting_with_its_default_and_what_it_does() -> None:
    text = (ROOT / "config.yaml").read_text()
    lines = [line.strip() for line in text.splitlines() if re.search(r": .*# ", line)]
    shown = [re.sub(r" +# ", " # ", line).replace('"', "") for line in lines]
    names = ((path.rpartition(".")[2], item) for path, item in SETTINGS.items())
    assert shown == [f"{name}: {item.default_text} # {item.does}" for name, item in names]


def test_config_yaml_means_the_same_to_a_yaml_1_1_parser() -> None:
    """Other tools that read the file, editors and templates, are of that age."""
    assert Config.from_mapping(yaml.safe_load((ROOT / "config.yaml").read_text())) == Config()


@pytest.mark.parametrize("item", SETTINGS.values(), ids=str)
def test_every_setting_is_documented_with_its_default_and_limits(item: Setting) -> None:
    text = " ".join((ROOT / "docs" / "configuration.rst").read_text().split())
    told = f"``{item.path}``, default ``{item.default_text}`` {item.does}."
    assert f"{told} Expected: {item.kind.expected}." in text


# Another one while the first is in force


def test_it_is_documented_of_every_setting_whether_it_takes_a_restart() -> None:
    page = (ROOT / "docs" / "configuration.rst").read_text()
    [(rule, table)] = re.findall(r"(?m)^(=+  =[= ]+)\nSection .*\n\1\n((?:.*\n)*?)\1$", page)
    columns = [match.span() for match in re.finditer("=+", rule)]
    told: dict[str, bool] = {}
    section = ""
    for line in table.splitlines():
        named, at_reload, at_restart = (line[start:end].strip() for start, end in columns)
        section = named or section
        told |= {f"{section}.{name}": False for name in re.findall(r"\w+", at_reload)}
        told |= {f"{section}.{name}": True for name in re.findall(r"\w+", at_restart)}
    assert told == {path: item.fixed for path, item in SETTINGS.items()}


def test_the_one_in_force_after_a_reload_is_the_new_one_but_for_what_is_fixed() -> None:
    old = Config.from_mapping({"server": {"port": 1, "drain": 1}, "redis": {"prefix": "old"}})
    new = Config.from_mapping(
        {
            "server": {"port": 2, "workers": 4, "drain": 2},
            "redis": {"prefix": "new", "channel": "new"},
            "auth": {"main_host": {"timeout": 2}},
            "admin": {"publish_keys": [KEY]},
        }
    )
    changed = [item.path for item in old.changed(new)]
    assert changed == [
        *("server.port", "server.workers", "server.drain", "admin.publish_keys"),
        *("auth.main_host.timeout", "redis.channel", "redis.prefix"),
    ]
    in_force = old.reloaded(new)
    assert [item.path for item in in_force.changed(new)] == [
        *("server.port", "server.workers", "redis.channel", "redis.prefix"),
    ]
    assert old.reloaded(old) == old
