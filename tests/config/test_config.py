"""The configuration as a whole: loaded, shown to people, and changed by another."""

import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from aionotify.config import (
    SETTINGS,
    Config,
    Setting,
    load_config,
)
from aionotify.errors import ConfigError
from tests.config.helpers import KEY, Write

ROOT = Path(__file__).parents[2]


def test_an_error_is_one_block_that_names_the_file(file: Write) -> None:
    path = file("server: {port: x}\nlog: {level: loud}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    assert str(caught.value) == (
        f"{path} is not usable:\n"
        "  log.level: expected one of debug, info, warning, error, got 'loud'\n"
        "  server.port: expected a whole number from 0 to 65535, got 'x'"
    )


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
    assert f"{told} Expected: {item.field.expected}." in text


def test_settings_are_documented_with_whether_they_take_a_restart() -> None:
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


def test_configuration_in_force_after_a_reload_is_the_new_one_but_for_what_is_fixed() -> None:
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


@pytest.mark.parametrize(
    ("was", "new"),
    [
        ("redis://h", "redis://:pw@h"),
        ("redis://u:pw@h:7/1", "redis://u2:pw2@h:7/1"),
        ("rediss://h", "rediss://h?ssl_ca_certs=/ca"),
        ("unix:///s?db=1", "unix://:pw@/s?db=1"),
        ("redis+sentinel://a,b/m", "redis+sentinel://:pw@a,b/m?sentinel_password=pw"),
    ],
)
def test_the_same_redis_may_be_entered_in_another_way_without_a_restart(was: str, new: str) -> None:
    old, asked = (Config.from_mapping({"redis": {"url": url}}) for url in (was, new))
    assert old.reloaded(asked) == asked


@pytest.mark.parametrize(
    ("was", "new"),
    [
        ("redis://h", "redis://:pw@h2"),
        ("redis://h", "redis://:pw@h:7"),
        ("redis://h", "redis://:pw@h/1"),
        ("redis://h", "rediss://h"),
        ("unix:///s", "unix://:pw@/s2"),
        ("unix:///s", "unix:///s?db=1"),
        ("redis+sentinel://a,b/m", "redis+sentinel://:pw@a/m"),
        ("redis+sentinel://a,b/m", "redis+sentinel://:pw@a,b/m2"),
        ("embedded://", "redis://h"),
    ],
)
def test_another_redis_takes_a_restart_and_so_does_its_password(was: str, new: str) -> None:
    old, asked = (Config.from_mapping({"redis": {"url": url}}) for url in (was, new))
    assert old.reloaded(asked) == old
