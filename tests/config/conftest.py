"""A configuration file."""

from pathlib import Path

import pytest

from tests.config.helpers import Write


@pytest.fixture
def file(tmp_path: Path) -> Write:
    """Write a configuration file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write
