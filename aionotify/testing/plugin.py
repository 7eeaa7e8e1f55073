"""The fixture of pytest. In a conftest.py: ``pytest_plugins = ["aionotify.testing.plugin"]``.

Not an entry point: every run of pytest, of whichever project, would import aionotify.
"""

from collections.abc import Iterator

import pytest

from aionotify.testing.server import Server


@pytest.fixture
def aionotify_server() -> Iterator[Server]:
    """A real node with a Redis of its own, for one test."""
    with Server() as server:
        yield server
