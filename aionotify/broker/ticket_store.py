"""Tickets in Redis: put under a hash, taken once. What is in them is sealed before it gets here."""

from typing import Any, cast

from aionotify.broker.connection.endpoint import translated
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.keys import Keys


class RedisTicketStore:
    """A `TicketStore` that all nodes on one Redis share."""

    def __init__(self, execute: Execute, keys: Keys) -> None:
        self._execute = execute
        self._keys = keys

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        """Keep `record` for `ttl` seconds; raise BrokerUnavailable or BrokerRefused."""
        await self._carry_out("SET", self._keys.ticket(name), record, "PX", int(ttl * 1000))

    async def take(self, name: str) -> bytes | None:
        """Return and remove a record; raise BrokerUnavailable or BrokerRefused.

        GETDEL is atomic, so of two nodes that are shown the same ticket one gets it.
        """
        return cast("bytes | None", await self._carry_out("GETDEL", self._keys.ticket(name)))

    async def _carry_out(self, *command: bytes | str | int) -> Any:
        with translated():
            [reply] = await self._execute([command])
            if isinstance(reply, Exception):
                raise reply
        return reply
