"""Tickets in Redis: put under a hash, taken once. What is in them is sealed before it gets here."""

from collections.abc import Callable
from typing import cast

from redis.asyncio import Redis

from aionotify.broker.connect import translated
from aionotify.broker.names import Names


class RedisTickets:
    """A `TicketStore` that all nodes on one Redis share."""

    def __init__(self, client: Callable[[], Redis], names: Names) -> None:
        self._client = client
        self._names = names

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        """Keep `record` for `ttl` seconds; raise BrokerUnavailable or BrokerRefused."""
        with translated():
            await self._client().set(self._names.ticket(name), record, px=int(ttl * 1000))

    async def take(self, name: str) -> bytes | None:
        """Return and remove a record; raise BrokerUnavailable or BrokerRefused.

        GETDEL is atomic, so of two nodes that are shown the same ticket one gets it.
        """
        with translated():
            record = await self._client().getdel(self._names.ticket(name))
        return cast("bytes | None", record)
