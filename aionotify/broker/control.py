"""What nodes say to all nodes, over the control channel.

While a node leaves, revocations and what it hands over are also kept in a log, for nodes that start
after it has ended. At all other times nothing is stored, and revocations cost one command each.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec
from redis.asyncio import Redis

from aionotify.broker.connection.endpoint import translated
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.errors import InvalidEvent

_MAX_LOGGED: Final = 4096  # messages; a node that leaves says some hundred


class Control(msgspec.Struct, omit_defaults=True):
    """A message on the control channel, from one node to all.

    Attributes:
        probe: the name of the node that wants to hear itself.
        revoke: the user whose streams are to be closed.
        handed_over: what a node that leaves says, in words of its own.
    """

    probe: str | None = None
    revoke: str | None = None
    handed_over: bytes | None = None


def decode_control(data: bytes) -> Control:
    """Return the message in `data`; raise InvalidEvent for what is none."""
    try:
        return msgspec.json.decode(data, type=Control)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent({"body": "is not a control message"}) from None


class ControlChannel:
    """Says things to all nodes. All methods raise BrokerUnavailable and BrokerRefused."""

    def __init__(self, client: Callable[[], Redis], keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._tell = Script(by_client(client), "tell.lua")

    async def revoke(self, user_id: str) -> int:
        """Have all nodes close a user's streams; returns how many nodes were told.

        Raises too when they were told, but a node that starts now may not get to know.
        """
        return await self._say(Control(revoke=user_id))

    async def hand_over(self, message: bytes, hold: float) -> int:
        """Tell all nodes, and those that start within `hold` seconds."""
        return await self._say(Control(handed_over=message), hold)

    async def logged(self) -> list[tuple[float, bytes]]:
        """What has been said while nodes were leaving, oldest first, and how many seconds ago.

        Messages as they were sent, if nobody else has put anything there.
        """
        with translated():
            async with self._client().pipeline(transaction=False) as pipeline:
                pipeline.lrange(self._keys.control_log, 0, -1)
                pipeline.time()
                entries, (seconds, microseconds) = await pipeline.execute()
        now = seconds + microseconds / 1_000_000
        return [_dated(entry, now) for entry in entries]

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._tell.close()

    async def _say(self, control: Control, hold: float | None = None) -> int:
        keys = (self._keys.control_log,)
        args = (self._keys.control, msgspec.json.encode(control), _MAX_LOGGED, hold or "")
        return int(await self._tell.call(keys, args))


def _dated(entry: bytes, now: float) -> tuple[float, bytes]:
    at, _, message = entry.partition(b" ")
    try:
        return max(0.0, now - int(at) / 1_000_000), message
    except (ValueError, OverflowError):
        return math.inf, entry
