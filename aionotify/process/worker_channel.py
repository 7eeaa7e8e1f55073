"""The leash: what the parent of several nodes and each of them say to each other.

Over a socket pair orders go to the node, one a line, and states of sd_notify(3) come back. Its end
is the order to stop, so a node ends with its parent. Knows neither processes nor what a
configuration changes.
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
"""The answer to an order with a configuration, once it is followed."""

_LONGEST: Final = 1 << 26  # bytes of an order; a thousand keys make 600,000


class Order(msgspec.Struct, omit_defaults=True):
    """What a node is to do.

    Attributes:
        config: to go by this.
        level: to log what is of this level and above.
        refused: to count a reload that failed.
    """

    config: Config | None = None
    level: str | None = None
    refused: bool = False

    def line(self) -> bytes:
        """Return it as the parent writes it."""
        return msgspec.json.encode(self) + b"\n"


class WorkerChannel:
    """A node's end of it.

    Attributes:
        problem: what there is to be told in a status; that is for the parent.
    """

    problem: str | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def first_order(self) -> Order:
        """Wait for the first order; those after it are for `run`. An empty one: there is none."""
        with self._sock.makefile("rb", buffering=0) as received:
            line = received.readline()
        self._sock.setblocking(False)  # a parent that hangs must not hold up the streams
        return _decoded(line) if line else Order()

    def answer(self, state: str) -> None:
        """Tell the parent a state, of which it cares for the first line."""
        with contextlib.suppress(OSError):
            self._sock.send(state.partition("\n")[0].encode() + b"\n")

    def listen(self) -> None:
        """See `node.Guide`. There is nothing to do: the parent's words are kept until `run`."""

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """See `node.Guide`. Returns when the parent says no more."""
        async for order in self._orders():
            if order.config is not None:
                await _follow(order.config, adopt)
                self.answer(RELOADED)
            if order.level is not None:
                logs.set_level(order.level)
            if order.refused:
                refused()

    async def _orders(self) -> AsyncIterator[Order]:
        # A duplicate, so that its end is not that of the leash: there is more to be answered.
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
    except Exception:  # noqa: BLE001 - the parent has found no fault in it, and streams come first
        _log.exception("reload failed")
    else:
        logs.configure(config.log.level, config.log.format)


def _decoded(line: bytes) -> Order:
    return msgspec.json.decode(line, type=Order)
