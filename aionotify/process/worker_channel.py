"""The channel between a parent process and each of its workers.

It is a socket pair. The parent sends orders, one per line; the worker sends states of sd_notify(3).
The end of the channel is the order to stop, so a worker stops with its parent. This module knows
neither processes nor what a configuration changes.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from aionotify.config import Config
from aionotify.telemetry import logs

_log = logging.getLogger(__name__)

RELOADED: Final = "RELOADED=1"
"""The answer to an order with a configuration, once that is in force."""

_LONGEST: Final = 1 << 26  # bytes of an order; a thousand keys make 600,000


class Order(msgspec.Struct, omit_defaults=True):
    """What a worker must do.

    Attributes:
        config: put this configuration in force.
        level: log this level and above.
        refused: count a failed reload.
    """

    config: Config | None = None
    level: str | None = None
    refused: bool = False

    def line(self) -> bytes:
        """Return the line that the parent writes."""
        return msgspec.json.encode(self) + b"\n"


class WorkerChannel:
    """The worker's end of the channel.

    Attributes:
        problem: always None; the parent reports failed reloads in its status.
    """

    problem: str | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def first_order(self) -> Order:
        """Wait for the first order; empty if the parent is gone. `run` takes the later ones."""
        with self._sock.makefile("rb", buffering=0) as received:
            line = received.readline()
        self._sock.setblocking(False)  # a parent that hangs must not hold up the streams
        return _decoded(line) if line else Order()

    def answer(self, state: str) -> None:
        """Send the first line of a state to the parent."""
        with contextlib.suppress(OSError):
            self._sock.send(state.partition("\n")[0].encode() + b"\n")

    def listen(self) -> None:
        """See `node.Guide`. Does nothing: the socket keeps the parent's orders until `run`."""

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """See `node.Guide`. Returns when the parent closes the channel."""
        async for order in self._orders():
            if order.config is not None:
                await _follow(order.config, adopt)
                self.answer(RELOADED)
            if order.level is not None:
                logs.set_level(order.level)
            if order.refused:
                refused()

    async def _orders(self) -> AsyncIterator[Order]:
        # A duplicate: closing it leaves the channel open for further answers.
        reader, writer = await asyncio.open_connection(sock=self._sock.dup(), limit=_LONGEST)
        try:
            with contextlib.suppress(ConnectionError):
                while line := await reader.readline():
                    yield _decoded(line)
        finally:
            writer.close()


async def _follow(config: Config, adopt: Callable[[Config], Awaitable[object]]) -> None:
    try:
        await adopt(config)
    except Exception:  # noqa: BLE001 - the parent has checked it, and streams must go on
        _log.exception("reload failed")
    else:
        logs.configure(config.log.level, config.log.format)


def _decoded(line: bytes) -> Order:
    return msgspec.json.decode(line, type=Order)
