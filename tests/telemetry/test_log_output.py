"""Lines of the log that nobody takes: nothing waits for that, and they are counted."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from aionotify.telemetry import logs
from aionotify.telemetry.log_output import LogOutput

LINE = "x" * 1000


@contextlib.contextmanager
def output(stream: TextIO) -> Iterator[LogOutput]:
    handler = LogOutput(stream)
    try:
        yield handler
    finally:
        handler.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        yield reading, stream
    os.close(reading)


def say(handler: LogOutput, message: str = LINE) -> None:
    handler.handle(logging.LogRecord("x", logging.INFO, __file__, 1, message, (), None))


def fill(writing: int) -> None:
    """Write until a pipe takes no more."""
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)


def reads(reading: int) -> tuple[threading.Thread, bytearray]:
    """Read until the other end is closed."""
    heard = bytearray()

    def read() -> None:
        while chunk := os.read(reading, 65536):
            heard.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    return thread, heard


def test_lines_are_written_in_order_and_whole(pipe: tuple[int, TextIO]) -> None:
    reading, stream = pipe
    thread, heard = reads(reading)
    with output(stream) as handler:
        say(handler, f"-1 {'y' * 10_000}")
        for number in range(1000):
            say(handler, f"{number} ü \ud800 {'y' * (number % 50 * 20)}")
        handler.flush()
    stream.close()
    handler._thread.join()
    thread.join()
    lines = heard.decode().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(-1, 1000))
    assert lines[1] == "0 ü \\ud800 "
    assert handler.lost == 0


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_its_lines_are_counted(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, stream = pipe
    said: list[logging.LogRecord] = []
    monkeypatch.setattr("aionotify.telemetry.log_output._log.handle", said.append)
    fill(stream.fileno())
    with output(stream) as handler:
        for _ in range(3000):  # three megabytes, of which one waits
            say(handler)
        assert handler.lost == 3000 - (1 << 20) // len(f"{LINE}\n")
        started = time.monotonic()
        handler.flush()
        assert 0.5 < time.monotonic() - started < 5
        lost = handler.lost
        thread, heard = reads(reading)
        handler.flush()
        handler.flush()
    stream.close()
    handler._thread.join()
    thread.join()
    assert heard.count(b"\n") == 3000 - lost
    assert {each.msg for each in said} == {"log lines lost"}
    assert sum(vars(each)["fields"]["lines"] for each in said) == lost


def test_lines_that_a_full_disk_does_not_take_are_counted() -> None:
    with Path("/dev/full").open("w") as full, output(full) as handler:
        for _ in range(20):
            say(handler)
        handler.flush()
        assert handler.lost == 20


def test_a_descriptor_that_somebody_made_nonblocking_loses_nothing(
    pipe: tuple[int, TextIO],
) -> None:
    """Some programs do that to the terminal or pipe that they share with us."""
    reading, stream = pipe
    os.set_blocking(stream.fileno(), False)
    with output(stream) as handler:
        for _ in range(500):
            say(handler)
        thread, heard = reads(reading)
        handler.flush()
    stream.close()
    handler._thread.join()
    thread.join()
    assert (heard.count(b"\n"), handler.lost) == (500, 0)


def test_a_reload_goes_on_with_the_same_output_and_what_it_has_counted() -> None:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    with Path("/dev/full").open("w") as full:
        try:
            logs.configure("info", "text", full, {})
            [handler] = root.handlers
            logging.getLogger("x").info("said")
            handler.flush()
            assert logs.lost_lines() == 1
            logs.configure("info", "json", full, {})
            assert root.handlers == [handler]
            assert isinstance(handler.formatter, logs.JSONFormatter)
            assert logs.lost_lines() == 1
        finally:
            handler.close()
            root.handlers[:] = before
            root.setLevel(level)
