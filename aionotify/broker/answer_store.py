"""Answers of the main host in Redis. What is in them is sealed before it gets here."""

import itertools
import math
import secrets
from collections.abc import Sequence
from typing import Final

from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.errors import BrokerRefused

SECRET: Final = 16  # bytes
_PLACE: Final = 3  # digits of a name: there are 4096 places for what is known of refusals

Write = tuple[str, str, int, int, int, bytes]
Record = tuple[bytes, bool]
Reply = tuple[bytes, int, int, float, list[Record | None]]


class RedisAnswerStore:
    """An `AnswerStore` that all nodes on one Redis share; see there what the tuples are."""

    def __init__(self, execute: Execute, keys: Keys) -> None:
        self._keys = keys
        self._script = Script(execute, "answers.lua")
        self._node = f"@{secrets.token_hex(8)}"

    async def exchange(
        self, secret: bytes, writes: Sequence[Write], names: Sequence[str], keep: float
    ) -> Reply:
        """See `AnswerStore`; raise BrokerUnavailable, or BrokerRefused, also for nonsense."""
        records = [self._keys.answer(name) for name in (*(write[0] for write in writes), *names)]
        candidate = secrets.token_bytes(SECRET)
        each = ((write[1], write[0][:_PLACE], *write[2:]) for write in writes)
        args: list[bytes | str | int] = [
            secret,
            candidate,
            math.ceil(keep),
            self._node,
            len(writes),
        ]
        args += itertools.chain(*each)
        reply = await self._script.call((self._keys.numbers, *records), tuple(args))
        try:
            given, number, revoked, now, *found = reply
            return given, int(number), int(revoked), int(now) / 1_000_000, _records(found)
        except (TypeError, ValueError):
            raise BrokerRefused("what is kept of answers is not what a node writes") from None

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()


def _records(found: Sequence[bytes | int]) -> list[Record | None]:
    pairs = zip(found[::2], found[1::2], strict=True)
    return [
        (sealed, int(streams) > 0) if isinstance(sealed, bytes) else None
        for sealed, streams in pairs
    ]
