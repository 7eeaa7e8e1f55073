"""A lease: one node has it at a time, and what it stores by it is stored in time or not at all.

Who is frozen, or was cut off, does not know that its lease has ended. So Redis compares: a lease is
an interval by Redis' clock, and append.lua stores nothing outside of it.
"""

import secrets
import time
from typing import Final, NamedTuple

from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script

LENGTH: Final = 5.0  # seconds; so long may pass before another node takes over from one that died
_RENEWED_AFTER: Final = 1.0  # seconds


class Lease(NamedTuple):
    """When it begins and when it ends, in microseconds by Redis' clock."""

    begins: int
    ends: int


class Leaseholder:
    """Takes and renews a lease under a name of its own.

    Args:
        execute: carries out commands.
        key: under which Redis has it.

    Attributes:
        term: counts the times that it was taken and not renewed. What was read in another term
            somebody else may have worked on since.
    """

    def __init__(self, execute: Execute, key: str) -> None:
        self.term = 0
        self._key = key
        self._node = secrets.token_hex(8)
        self._script = Script(execute, "lease.lua")
        self._lease: Lease | None = None
        self._taken_at = 0.0

    async def take(self) -> Lease | None:
        """Return the lease, which lasts most of its length yet; None while another node has it.

        Raises BrokerUnavailable and BrokerRefused.
        """
        now = time.monotonic()
        if self._lease is None or now - self._taken_at > _RENEWED_AFTER:
            self._lease = None
            reply = await self._script.call((self._key,), (self._node, int(LENGTH * 1000)))
            if isinstance(reply, list):
                begins, ends, renewed = map(int, reply)
                self._lease, self._taken_at = Lease(begins, ends), now
                self.term += not renewed
        return self._lease

    def forget(self) -> None:
        """Rely on it no longer: `take` asks Redis."""
        self._lease = None

    async def give_back(self) -> None:
        """Let another node take it at once. Raises BrokerUnavailable and BrokerRefused."""
        self._lease = None
        await self._script.call((self._key,), (self._node, 0))

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()
