"""What every test may use, and what every test is held to."""

import asyncio
import inspect
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.harness import MainHost, RedisServer

# Of the folders beside us.
_END_TO_END = {"browser", "chaos", "clients", "demo", "deploy", "integration"}


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each asynchronous test on both event loops that people use.

    One of them will do for a test with ``@pytest.mark.asyncio(loop_factories=["asyncio"])``.
    """
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes processes, browsers or a cluster, and with them most of the time."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in _END_TO_END:
            item.add_marker("e2e")


@pytest.fixture(autouse=True)
def _held_to_account(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("_no_task_left_behind")


@pytest.fixture
async def _no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test after which, its fixtures torn down, a task still runs."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:  # a library's connection handlers may need a moment to see that all is over
        _, left = await asyncio.wait(left, timeout=1)
    assert not left, f"tasks left behind: {left}"


@pytest.fixture
def deaf_to_sigint() -> Iterator[None]:
    """Have the tests ignore SIGINT, as they do when a script runs them in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """Hold no signal that a command held: what tests start would never get it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command or an instance does to logging, which is the whole process'."""
    loggers = [logging.getLogger(name) for name in ("", "aionotify", "asyncio")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
    for name, each in logging.root.manager.loggerDict.items():
        if name.startswith("aionotify") and isinstance(each, logging.Logger):
            each.filters.clear()


@pytest.fixture(scope="session")
def _redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(_redis_process: RedisServer) -> Iterator[RedisServer]:
    """A real Redis, empty; all tests share it, so it is not for faults or CONFIG SET.

    Fails a test that leaves a key without a TTL: what nobody deletes has to go by itself. Whoever
    puts users in groups takes them out as well.
    """
    server = _redis_process
    server.cli("FLUSHALL")
    yield server
    lasting = (":epoch", "}:groups", ":members")
    keys = [key for key in server.cli("KEYS", "*") if not key.endswith(lasting)]
    eternal = [key for key in keys if server.cli("TTL", key) == -1]
    assert not eternal, f"keys without a TTL: {eternal}"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A real Redis for this test alone, to stop, kill or freeze; a restart empties it."""
    with RedisServer(_subdirectory(tmp_path, "redis")) as server:
        yield server


@pytest.fixture
def durable_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Like `own_redis`, but what it has acknowledged survives whatever happens to it."""
    with RedisServer(_subdirectory(tmp_path, "durable-redis"), persistent=True) as server:
        yield server


@pytest.fixture
def main_host() -> Iterator[MainHost]:
    """A main host to which ``token-42`` is user ``42``."""
    with MainHost() as host:
        yield host


def _subdirectory(parent: Path, name: str) -> Path:
    directory = parent / name
    directory.mkdir()
    return directory
