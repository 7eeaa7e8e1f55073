"""A real ``aionotify demo`` process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.harness.interrupts import interruptible
from tests.harness.wait import PATIENCE

REPOSITORY = Path(__file__).parents[2]
FREE_PORTS = ("--port", "0", "--main-host-port", "0", "--redis-port", "0")


class Demo:
    """``python -m aionotify demo`` with `flags`.

    What it prints goes to a file in `directory`, which also is its place for temporary files: so
    `left_behind` can tell what of it still runs.
    """

    def __init__(self, directory: Path, *flags: str) -> None:
        self._directory = directory
        self._output = directory / "output"
        environ = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
        self._temporary = directory / "tmp"
        self._temporary.mkdir()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                interruptible(sys.executable, "-m", "aionotify", "demo", *flags),
                cwd=REPOSITORY,
                env=environ | {"TMPDIR": str(self._temporary)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """Everything that it has printed."""
        return self._output.read_text("utf-8")

    def wait_ready(self, timeout: float = PATIENCE) -> Self:
        """Return when it has said how to end it."""
        deadline = time.monotonic() + timeout
        while "Ctrl-C" not in self.output:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"code {self._process.returncode}:\n{self.output}")
            time.sleep(0.02)
        return self

    @property
    def url(self) -> str:
        """Of the page, with a / at its end."""
        return self._said(r"Open +(\S+)")

    @property
    def server_url(self) -> str:
        """Of the notification server, with a / at its end."""
        return self._said(r"Server +(\S+)") + "/"

    @property
    def redis_port(self) -> int:
        return int(self._said(r"Redis +127\.0\.0\.1 port (\d+)"))

    @property
    def key(self) -> str:
        """With which one may publish."""
        return self._said(r"curl -H 'Authorization: Bearer (\S+)'")

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, number: int = signal.SIGINT, timeout: float = PATIENCE) -> int:
        """Send a signal; return the exit code."""
        self._process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the exit code when it has ended."""
        return self._process.wait(timeout)

    def left_behind(self) -> list[str]:
        """Return the processes that it started and that run on, and the files."""
        return [*self._running(), *(str(path) for path in self._temporary.iterdir())]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self.end()

    def _said(self, pattern: str) -> str:
        match = re.search(pattern, self.output)
        assert match is not None, f"{pattern} is not in:\n{self.output}"
        return match[1]

    def _running(self) -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
                environ = (path / "environ").read_text("utf-8", "replace")
            except OSError:  # ended just now, or somebody else's
                continue
            if int(path.name) != self.pid and str(self._temporary) in command + environ:
                yield command
