"""A node as it is deployed: from source or as the binary, on a port or on a socket it is handed."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import aiohttp

from tests.harness import free_port
from tests.harness.interrupts import interruptible

REPOSITORY = Path(__file__).parents[2]
SOURCE = (sys.executable, "-m", "aionotify")

# What systemd does between fork and exec: the socket becomes descriptor 3.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def variables(settings: Mapping[str, object]) -> dict[str, str]:
    """Return dotted keys and their values as the environment has them."""
    return {
        "AIONOTIFY_" + path.upper().replace(".", "__"): (
            value if isinstance(value, str) else json.dumps(value)
        )
        for path, value in settings.items()
    }


class Node:
    """``aionotify serve``, to be started and ended again and again at the same address.

    Args:
        settings: dotted keys and values.
        command: what is run in place of the source.
        directory: where it runs.
        environ: all variables that it has but for its settings; else our own.
        handed: it is handed a socket that stays open when it ends, as by systemd.
    """

    def __init__(
        self,
        settings: Mapping[str, object],
        *,
        command: Sequence[str] = SOURCE,
        directory: Path = REPOSITORY,
        environ: Mapping[str, str] | None = None,
        handed: bool = False,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.logs: list[str] = []
        self._patience = 60 + float(str(settings.get("server.drain", 0)))
        self._command = [*command, "serve"]
        self._directory = directory
        self._environ = {**(os.environ if environ is None else environ), "PYTHONUNBUFFERED": "1"}
        self._environ |= variables({"server.port": self.port, **settings})
        self._socket: socket.socket | None = None
        if handed:
            self._socket = socket.create_server(("127.0.0.1", self.port), backlog=4096)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that was started, of several perhaps."""
        assert self._process is not None
        return self._process.pid

    async def start(self, *, until: str | None = "/readyz") -> None:
        """Start it and return when `until` answers 200."""
        command, passed = self._command, []
        if self._socket is not None:
            passed = [self._socket.fileno()]
            command = [sys.executable, "-c", HAND_OVER, str(passed[0]), *command]
        self._process = await asyncio.create_subprocess_exec(
            *interruptible(*map(str, command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._directory,
            env=self._environ,
            pass_fds=passed,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(), name="node-logs")
        if until is not None:
            await self._answers(until)

    async def end(self, number: int = signal.SIGTERM, *, group: bool = False) -> int:
        """Signal it, or its whole process group, and return its exit code."""
        (os.killpg if group else os.kill)(self.pid, number)
        return await self.wait()

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        assert self._process is not None
        assert self._reading is not None
        async with asyncio.timeout(self._patience):
            code = await self._process.wait()
            await self._reading
        self._process = None
        return code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process is not None:
            os.killpg(self.pid, signal.SIGKILL)
            await self.wait()
        if self._socket is not None:
            self._socket.close()

    async def _answers(self, path: str) -> None:
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while True:
                assert self._process is not None
                assert self._process.returncode is None, "\n".join(self.logs)
                try:
                    async with session.get(self.url + path) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.logs.append(line.decode(errors="replace").rstrip("\n"))
