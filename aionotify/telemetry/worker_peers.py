"""How the workers of one server ask each other for their metrics.

The kernel spreads connections over the workers, so a request reaches one worker, which must ask its
peers. Each answers on a Unix socket in a directory that the parent made, and that only their user
may enter. This module knows nothing of what they answer.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aionotify import tasks

_TIMEOUT: Final = 1.0  # seconds for all; Prometheus gives up after some ten
_LONGEST: Final = 1 << 24  # bytes of one answer; some ten thousand are usual


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """The place of a worker among its peers.

    Attributes:
        directory: of their sockets.
        index: the worker's own number, which it keeps when it is replaced.
        workers: how many there are.
    """

    directory: str
    index: int
    workers: int

    def socket(self, index: int) -> Path:
        """The socket on which worker `index` answers."""
        return Path(self.directory, f"{index}.sock")


class WorkerPeers:
    """The other workers; none until `join` is called.

    Attributes:
        place: the place of this worker among them, or None if it is the only one.
    """

    def __init__(self) -> None:
        self.place: WorkerPlace | None = None
        self._server: asyncio.Server | None = None

    async def join(self, place: WorkerPlace, tell: Callable[[], bytes]) -> None:
        """Answer peers that ask with what `tell` returns.

        Raises:
            OSError: the socket cannot be made.
        """

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                with contextlib.suppress(ConnectionError):
                    writer.write(tell())
                    await writer.drain()
            finally:  # whatever is wrong with us; before 3.11.7 asyncio leaves it open
                writer.close()

        path = place.socket(place.index)
        path.unlink(missing_ok=True)  # of the worker whose place this one takes
        self._server = await asyncio.start_unix_server(answer, path)
        self.place = place

    async def leave(self) -> None:
        """Stop answering."""
        if self._server is None or self.place is None:
            return
        self._server.close()
        self._server = None
        self.place.socket(self.place.index).unlink(missing_ok=True)
        # The last worker removes the directory, in case the parent was killed. A worker cannot tell
        # whether it was: the parent closes its end of the channel before it exits.
        with contextlib.suppress(OSError):
            os.rmdir(self.place.directory)

    async def ask(self) -> dict[int, bytes]:
        """Return the answer of each peer that answers in time."""
        if self.place is None:
            return {}
        others = [index for index in range(self.place.workers) if index != self.place.index]
        answers = await asyncio.gather(*(_ask(self.place.socket(index)) for index in others))
        return {
            index: answer
            for index, answer in zip(others, answers, strict=True)
            if answer is not None
        }


async def _ask(path: Path) -> bytes | None:
    try:
        async with tasks.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await _read(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    answer = bytearray()
    while part := await reader.read(65536):
        answer += part
        if len(answer) > _LONGEST:
            return None
    return bytes(answer) or None
