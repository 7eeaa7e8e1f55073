"""Where settings come from, and what is said about each that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest

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
from tests.config.helpers import KEY, Write, nested


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.yaml is not usable:\n  file: cannot be read: No"):
        load_config(tmp_path / "no.yaml", environ={})


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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("way", ["mapping", "file", "credential", "variable", "named file", "flag"])
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("redis.url", "redis://:secret@host"),
        ("auth.main_host.url", "http://host"),
        ("auth.jwt.key", "a\nsecret "),
        ("server.host", "::1"),
        ("stream.heartbeat", "7.0"),
        ("admin.port", "null"),
    ],
)
def test_a_newline_at_the_end_of_a_text_is_dropped_wherever_it_comes_from(
    tmp_path: Path, path: str, text: str, way: str, end: str
) -> None:
    """As `echo` and editors write it, on Windows too."""
    given, environ, file, overrides = f"{text}{end}", {}, None, {}
    match way:
        case "mapping" | "file" if path in ("stream.heartbeat", "admin.port"):
            return  # not by a text
        case "named file" if path == "auth.jwt.key":
            return  # auth.jwt.key_file is a setting of its own
        case "mapping":
            assert SETTINGS[path].of(Config.from_mapping(nested(path, given))) == text
            return
        case "file":
            file = _written(tmp_path / "config.yaml", json.dumps(nested(path, given)))
        case "credential":
            environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
            _written(tmp_path / path, given.encode())
        case "variable":
            environ = {variable(path): given}
        case "named file":
            environ = {f"{variable(path)}_FILE": str(_written(tmp_path / "x", given.encode()))}
        case "flag":
            overrides = {path: given}
    found = SETTINGS[path].of(load_config(file, environ=environ, overrides=overrides))
    assert found == {"7.0": 7.0, "null": None}.get(text, text)


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
