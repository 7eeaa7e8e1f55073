"""A demo inside the test's own process; one event loop will do, as elsewhere both are tested."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from aionotify import Config
from aionotify.demo.running import running
from aionotify.demo.world import Ports, World


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test here once."""
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A running demo on free ports."""
    async with running(Config(), Ports(0, 0, 0)) as world:
        yield world
