"""What tests of the configuration have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aionotify.config import Config
from aionotify.errors import ConfigError

KEY = "correct-horse-battery-staple"
Write = Callable[[str], Path]


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
