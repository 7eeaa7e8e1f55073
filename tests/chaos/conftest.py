"""Scenes of real servers, and nodes in this process to look into."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.inside import InsideNode
from tests.chaos.scene import Scene
from tests.harness import RedisServer

Start = Callable[..., Awaitable[InsideNode]]
Play = Callable[..., Scene]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test here once."""
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
async def start(redis_server: RedisServer) -> AsyncIterator[Start]:
    """Start nodes in this process on the shared Redis; keywords are settings of `inbox`."""
    async with AsyncExitStack() as running:

        async def start(**inbox: int) -> InsideNode:
            return await running.enter_async_context(InsideNode(redis_server, inbox))

        yield start


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Make a scene to enter; keywords are those of `Scene`."""
    return partial(Scene, tmp_path, groups=True)
