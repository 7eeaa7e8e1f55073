"""The file: the scalars of YAML 1.2, and nothing that could surprise."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.config import (
    Config,
    load_config,
)
from aionotify.errors import ConfigError
from tests.config.helpers import Write, outcome_of


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
def test_any_text_is_a_configuration_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome = outcome_of(partial(load_config, path, environ={}))
    assert isinstance(outcome, Config) or outcome.problems
