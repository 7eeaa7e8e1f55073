"""SIGTERM before there is an event loop."""

import signal
import subprocess
import sys

START = """
import os, signal
from aionotify.process.first_signals import end_on_sigterm
os.getpid = lambda: {pid}
end_on_sigterm()
print("started", flush=True)
signal.pause()
"""


def ended(pid: int) -> int:
    """Send SIGTERM to a process that takes itself for `pid`; return its exit code."""
    command = [sys.executable, "-c", START.format(pid=pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        return process.wait(10)


def test_sigterm_ends_process_1_which_has_no_default_for_it() -> None:
    assert ended(1) == 128 + signal.SIGTERM


def test_sigterm_ends_any_other_process_as_usual() -> None:
    assert ended(1234) == -signal.SIGTERM


def test_nothing_is_imported_before_that_takes_long() -> None:
    """Or a container that is stopped while it starts is killed, after ten seconds."""
    code = "import sys, aionotify.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert {"asyncio", "aiohttp", "msgspec", "aionotify.cli"}.isdisjoint(modules)
    assert len([name for name in modules if name.startswith("aionotify")]) < 8
