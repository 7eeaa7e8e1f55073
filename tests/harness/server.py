"""A real ``aionotify serve`` process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.harness.clock import Clock
from tests.harness.interrupts import interruptible
from tests.harness.ports import free_port
from tests.harness.wait import PATIENCE

REPOSITORY = Path(__file__).parents[2]


class NotifyServer:
    """``python -m aionotify serve`` on a free port of 127.0.0.1.

    `settings` are dotted keys and values, ``{"redis.url": "redis://…", "server.drain": 2}``; they
    reach the process as AIONOTIFY_* variables, and what is in `file` counts less. `logs` grows with
    each line that it writes. With a `directory` it is the installed command, started there. It goes
    by `clock`, if there is one. `flags` come last on its command line.
    """

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        file: Path | None = None,
        directory: Path | None = None,
        clock: Clock | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._clock = clock
        self._program = [sys.executable, "-m", "aionotify"]
        self._directory = REPOSITORY
        if directory is not None:
            self._program = [str(Path(sys.executable).with_name("aionotify"))]
            self._directory = directory
        self._arguments = [*([] if file is None else ["--config", str(file)]), *flags]
        self.settings = {"server.port": free_port(), **(settings or {})}
        self.url = f"http://127.0.0.1:{self.settings['server.port']}"
        self.logs: list[str] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    async def start(self, *, until: str | None = "/readyz", timeout: float = PATIENCE) -> None:
        """Start it and return when `until` answers 200: ``/readyz``, ``/healthz``, or None."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
        environ["PYTHONUNBUFFERED"] = "1"
        environ |= self._clock.environ if self._clock is not None else {}
        for path, value in self.settings.items():
            text = value if isinstance(value, str) else json.dumps(value)
            environ["AIONOTIFY_" + path.upper().replace(".", "__")] = text
        self._process = await asyncio.create_subprocess_exec(
            *interruptible(*self._program, "serve", *self._arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._directory,
            env=environ,
            limit=2**20,
        )
        self._reading = asyncio.create_task(self._read_logs(), name="server-logs")
        try:
            async with asyncio.timeout(timeout):
                await self._answers(until)
        except TimeoutError:
            raise AssertionError(f"{until} is not 200 within {timeout:g} s:\n{self}") from None

    async def terminate(self, timeout: float = PATIENCE) -> int:
        """Ask it to end (SIGTERM); return its exit code, negative for a signal."""
        self._running().terminate()
        return await self.wait(timeout)

    def reload(self) -> None:
        """Have it read its configuration again (SIGHUP)."""
        self._running().send_signal(signal.SIGHUP)

    async def kill(self) -> int:
        """End it without warning (SIGKILL)."""
        self._running().kill()
        return await self.wait()

    async def wait(self, timeout: float = PATIENCE) -> int:
        """Return its exit code when it has ended."""
        try:
            async with asyncio.timeout(timeout):
                code = await self._running().wait()
        except TimeoutError:
            raise AssertionError(f"still running after {timeout:g} s:\n{self}") from None
        if self._reading is not None:
            await self._reading
        self._process = None
        return code

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End it if it is running, and at once: how it ends in order is a test's business."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._process is not None:
            await self.wait()

    def __str__(self) -> str:
        return "\n".join(self.logs) or "(no logs)"

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    async def _answers(self, path: str | None) -> None:
        async with aiohttp.ClientSession() as session:
            while path is not None:
                if self._running().returncode is not None:
                    raise AssertionError(f"ended with {self._running().returncode}:\n{self}")
                try:
                    async with session.get(self.url + path) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    async def _read_logs(self) -> None:
        output = self._running().stdout
        assert output is not None
        async for line in output:
            self.logs.append(line.decode(errors="replace").rstrip("\n"))
