"""Tickets in Redis: put under a hash, taken once. What is in them is sealed before it gets here."""

from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.keys import Keys


class RedisTicketStore:
    """A `TicketStore` that all nodes on one Redis share."""

    def __init__(self, execute: Execute, keys: Keys) -> None:
        self._execute = execute
        self._keys = keys

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        """Keep `record` for `ttl` seconds; raise BrokerUnavailable or BrokerRefused."""
        key, ms = self._keys.ticket(name), int(ttl * 1000)
        await replies(self._execute, ("SET", key, record, "PX", ms))

    async def take(self, name: str) -> tuple[bytes, float] | None:
        """Return and remove a record; raise BrokerUnavailable or BrokerRefused.

        GETDEL is atomic, so of two nodes that are shown the same ticket one gets it. With it comes
        for how many seconds it would have been kept.
        """
        key = self._keys.ticket(name)
        left, record = await replies(self._execute, ("TTL", key), ("GETDEL", key))
        return None if record is None else (record, float(left))
