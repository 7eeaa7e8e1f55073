"""One run of a client: its program in a process, and what it has said."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.clients.catalogue import BUILT, SERVICES, Client, command


class Run:
    """What a client has heard so far.

    Attributes:
        heard: type and data, parsed, of each event.
        refused: it has said that the user has to sign in.
        ended: it does not run any more.
    """

    def __init__(self, client: Client, user: str) -> None:
        self.client = client
        self.user = user
        self.heard: list[tuple[str, Any]] = []
        self.refused = False
        self.ended = False
        self.said: list[str] = []  # what is not JSON: for whoever wants to know what went wrong

    def take(self, line: str) -> None:
        """Take a line that the program has written."""
        try:
            said = json.loads(line)
        except ValueError:
            self.said.append(line)
            return
        if "refused" in said:
            self.refused = True
        elif "json" in said:
            self.heard.append((said["type"], said["json"]))
        else:
            self.heard.append((said["type"], _parsed(said["data"])))

    @property
    def opened(self) -> int:
        """How many streams have begun."""
        return sum(type == "aionotify.open" for type, _ in self.heard)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """What somebody published."""
        return [(type, data) for type, data in self.heard if not type.startswith("aionotify.")]

    @property
    def numbers(self) -> list[int]:
        """The data of what somebody published."""
        return [data["data"] for _, data in self.events if isinstance(data, dict)]

    async def start(self, url: str, token: str, last_id: str) -> None:
        raise NotImplementedError

    async def set_token(self, token: str) -> None:
        """From now on, this is the token that is valid."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End it; does nothing twice."""
        raise NotImplementedError


def _parsed(data: str) -> Any:
    """All that aionotify sends is JSON; what is not is not an event of ours."""
    try:
        return json.loads(data)
    except ValueError:
        return data


class Process(Run):
    """A program of its own process group."""

    def __init__(self, client: Client, user: str, directory: Path, javascript: Path) -> None:
        super().__init__(client, user)
        self._token = directory / f"{client.where}-{client.label}-{user}.token"
        self._command: Sequence[str | Path] = command(client, javascript)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []

    async def start(self, url: str, token: str, last_id: str) -> None:
        await self.set_token(token)
        environ = os.environ | {"PATH": f"{SERVICES}:{os.environ['PATH']}"}
        self._process = await asyncio.create_subprocess_exec(
            *map(str, self._command),
            f"{url}/notify",
            str(self._token),
            last_id,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
            cwd=BUILT,
            limit=2**20,
            start_new_session=True,
        )
        self._reading = [
            asyncio.create_task(self._read(self._process.stdout, self.take, True), name="client"),
            asyncio.create_task(self._read(self._process.stderr, self.said.append), name="client"),
        ]

    async def set_token(self, token: str) -> None:
        new = self._token.with_suffix(".new")
        new.write_text(token)
        new.replace(self._token)

    async def stop(self) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await asyncio.gather(*self._reading)
        self._process = None

    async def _read(
        self,
        output: asyncio.StreamReader | None,
        take: Callable[[str], None],
        until_end: bool = False,
    ) -> None:
        assert output is not None
        async for line in output:
            take(line.decode(errors="replace").rstrip("\n"))
        self.ended = self.ended or until_end
