"""The parts of a deployment: proxies, the binary, main host and Redis."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.deploy.node import REPOSITORY
from tests.deploy.proxies import certify


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test here once."""
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
def trust(tmp_path: Path) -> ssl.SSLContext:
    """How a client trusts the proxy in `tmp_path`."""
    return certify(tmp_path)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The one-file binary, built now unless there is one of this very source."""
    subprocess.run([REPOSITORY / "scripts/build-binary"], check=True)
    return REPOSITORY / "dist/aionotify"
