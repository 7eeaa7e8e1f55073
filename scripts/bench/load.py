"""The load generator of load.c: compiled when needed, started, and told what to do."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
_BUILD = Path(__file__).parents[2] / "build"
_CONNECTING = 128  # at a time; less than a server's backlog
_HANDSHAKES = 240.0  # seconds for all of one command
_LINE = 1 << 16  # bytes
_ENDS_WITHIN = 15.0  # seconds


class LoadFailed(Exception):
    """There are no clients, or not all of them could do what they were to; says why."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What has arrived since the last `forget`.

    Attributes:
        events: at clients that had not had them.
        repeated: at clients that had had them, or later ones, before.
        unnumbered: events with the number 0, which are written without a publisher.
        ended: streams that the server has closed.
        first: when the first one came, in seconds of `time.monotonic`; 0 before.
        last: likewise the last one.
        cpu: seconds of CPU that the load generator has used so far.
    """

    events: int
    repeated: int
    unnumbered: int
    ended: int
    first: float
    last: float
    cpu: float


class Load:
    """All clients, in a process of their own, and what has arrived at them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def open(self, port: int, request: str, values: Iterable[str]) -> float:
        """Open a stream with each of `values` in the place of ``{}`` in `request`.

        Returns the seconds until the last one had the first bytes of its answer.

        Raises:
            LoadFailed: one was refused, or it takes too long.
        """
        requests = b"".join(request.replace("{}", value).encode() + b"\0" for value in values)
        answer = await self._ask(f"open {port} {_CONNECTING} {len(requests)}", requests)
        return float(answer[0])

    async def arrived(self) -> Arrived:
        """Tell what has come in."""
        *counts, first, last, cpu = await self._ask("arrived")
        events, repeated, unnumbered, ended = map(int, counts)
        return Arrived(events, repeated, unnumbered, ended, float(first), float(last), float(cpu))

    async def latency(self) -> list[float]:
        """Seconds from publish to arrival, at 0, 1, ... 100 and 99.9 percent; [] without events."""
        return [float(each) for each in await self._ask("latency")]

    async def forget(self) -> None:
        """Begin to count anew."""
        await self._ask("forget")

    async def close(self) -> None:
        """Close all streams."""
        await self._ask("close")

    async def _ask(self, command: str, body: bytes = b"") -> list[str]:
        self._writer.write(command.encode() + b"\n" + body)
        await self._writer.drain()
        try:
            async with asyncio.timeout(_HANDSHAKES):
                line = (await self._reader.readline()).decode()
        except TimeoutError:
            raise LoadFailed(f"{command}: no answer in {_HANDSHAKES:.0f} s") from None
        if not line:
            raise LoadFailed("the load generator has ended")
        if line.startswith("error "):
            raise LoadFailed(line.removeprefix("error ").strip())
        return line.split()


@asynccontextmanager
async def load_generator() -> AsyncIterator[Load]:
    """Run a load generator until the block is left.

    Raises:
        LoadFailed: it cannot be compiled.
    """
    program = await asyncio.to_thread(_compiled)
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(program, str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C is for us
        )
    reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE)
    try:
        yield Load(reader, writer)
    finally:
        writer.close()  # which ends it
        try:
            async with asyncio.timeout(_ENDS_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _compiled() -> Path:
    """Compile it, unless that was done."""
    program = _BUILD / "bench-load"
    if program.exists() and program.stat().st_mtime > _SOURCE.stat().st_mtime:
        return program
    compiler = shutil.which("cc") or shutil.which("tcc", path=_BUILD / "services" / "bin")
    if compiler is None:
        raise LoadFailed(
            f"{_SOURCE.name} needs a C compiler; there is no cc, and no build/services/bin/tcc."
            " On Debian: apt-get install gcc libc6-dev"
        )
    _BUILD.mkdir(exist_ok=True)
    fresh = program.with_name(f"{program.name}.{os.getpid()}")  # others may compile it too
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-o", str(fresh), str(_SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LoadFailed(f"{compiler} cannot compile {_SOURCE}:\n{done.stderr}")
    fresh.replace(program)
    return program
