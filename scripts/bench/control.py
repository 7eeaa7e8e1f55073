"""The other processes of a benchmark, and how they are told what to do.

One command at a time, as a line of JSON over a socket pair. The end of the pair is the end of the
process, so that nothing is left behind whatever becomes of who started it.
"""

import asyncio
import inspect
import socket
import sys
import traceback
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_LINE = 1 << 26  # bytes; the tokens of 10,000 streams are a few megabytes
_ENDS_WITHIN = 15.0  # seconds, from the end of the pair to that of the process


class ChildFailed(Exception):
    """A process could not do what it was told, and says why; or it has ended."""


class Child:
    """A process that does what it is told."""

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = process.pid
        self._reader = reader
        self._writer = writer

    async def tell(self, command: str, **arguments: Any) -> None:
        """Have a command carried out that has nothing to say.

        Raises:
            ChildFailed: it could not be.
        """
        await self.ask(None, command, **arguments)

    async def ask(self, type: type[T] | None, command: str, **arguments: Any) -> T:
        """Have a command carried out, and return its result as a `type`.

        Raises:
            ChildFailed: it could not be.
        """
        self._writer.write(msgspec.json.encode([command, arguments]) + b"\n")
        await self._writer.drain()
        line = await _line(self._reader)
        if not line:
            raise ChildFailed("the process has ended")
        reply = msgspec.json.decode(line)
        if "error" in reply:
            raise ChildFailed(reply["error"])
        return msgspec.convert(reply["result"], type)


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run ``python -m module`` until the block is left."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, str(theirs.fileno()), *arguments),
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a Ctrl-C is for us
        )
    reader, writer = await asyncio.open_connection(sock=ours, limit=_LINE)
    try:
        yield Child(process, reader, writer)
    finally:
        writer.close()
        try:
            async with asyncio.timeout(_ENDS_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def obey(descriptor: int, commands: Mapping[str, Callable[..., Any]]) -> None:
    """Carry out commands until there is nobody any more to give them."""
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=descriptor), limit=_LINE
    )
    while line := await _line(reader):
        command, arguments = msgspec.json.decode(line)
        try:
            result = commands[command](**arguments)
            if inspect.isawaitable(result):
                result = await result
            reply = {"result": result}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for whoever asked
            reply = {"error": _first_cause(error)}
        writer.write(msgspec.json.encode(reply) + b"\n")
    writer.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ConnectionError:
        return b""


def _first_cause(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return "".join(traceback.format_exception(error))


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run `main` on the event loop called `loop`: uvloop, asyncio, or auto for the faster."""
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(main)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the event loop called `name`; ImportError when uvloop is asked for and missing."""
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise
        else:
            return uvloop.new_event_loop
    return asyncio.SelectorEventLoop
