"""File descriptors: told of before there are none, and once when there are none."""

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from aionotify.telemetry.logs import bare
from aionotify.telemetry.open_files import _shortage, accept_quietly


@pytest.fixture
def few() -> Iterator[None]:
    """Some 40 files may be opened beside those that are open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_open_files_are_in_order_until_few_may_follow(few: None) -> None:
    found = [_shortage()]
    with ExitStack() as taken, suppress(OSError):
        while True:
            taken.enter_context(open(os.devnull))
            found.append(_shortage())
    assert found[0] is None
    assert "file descriptors are open" in str(found[-2])
    assert found[-1] == "no file descriptor is left (Too many open files)"
    assert _shortage() is None


async def test_accepting_quietly_tells_once_and_leaves_other_failures_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    accept_quietly(loop)
    failed = OSError(errno.EMFILE, "Too many open files")
    for _ in range(100):
        message = "socket.accept() out of system resource"
        loop.call_exception_handler({"message": message, "exception": failed})
    loop.call_exception_handler({"message": "a bug", "exception": ValueError()})
    told = [(record.levelname, bare(record)) for record in caplog.records]
    assert told == [("WARNING", "cannot accept connections"), ("ERROR", "a bug")]
    assert caplog.records[-1].exc_info is not None
