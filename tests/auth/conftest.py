"""A main host, and authenticators that ask it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.auth.revocations import Revocations
from aionotify.config import MainHostConfig
from tests.auth.helpers import Clock
from tests.auth.stub_main_host import StubMainHost


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def revocations() -> Revocations:
    """What all authenticators here know of revocations."""
    return Revocations()


@pytest.fixture
async def host() -> AsyncIterator[StubMainHost]:
    """The main host."""
    stub = StubMainHost()
    await stub.start()
    yield stub
    await stub.stop()


@pytest.fixture
async def asking(
    host: StubMainHost, clock: Clock, revocations: Revocations
) -> AsyncIterator[Callable[..., MainHostAuthenticator]]:
    """Makes authenticators that ask `host` and go by `clock`; takes settings."""
    made: list[MainHostAuthenticator] = []

    def make(**settings: Any) -> MainHostAuthenticator:
        config = replace(MainHostConfig(url=host.url, timeout=2.0), **settings)
        made.append(MainHostAuthenticator(config, revocations=revocations, clock=clock))
        return made[-1]

    yield make
    for authenticator in made:
        await authenticator.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("aionotify")]
    assert not left, "a task outlived its authenticator"
