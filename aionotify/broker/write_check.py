"""Whether Redis takes events.

It may answer and be heard, and yet store nothing: out of memory (maxmemory), its disk full
(MISCONF), a replica (READONLY), or no majority to write with (NOREPLICAS). Streams go on then, but
nothing durable can be published, by anybody.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from aionotify.broker.connection.endpoint import translated
from aionotify.broker.keys import Keys
from aionotify.errors import BrokerRefused, BrokerUnavailable
from aionotify.telemetry.health_check import HealthCheck

_INTERVAL: Final = 2.0  # seconds
_TTL: Final = 60  # seconds


class WriteCheck:
    """Tries a write of no consequence, again and again.

    Attributes:
        health: whether it succeeds; unchanged while Redis does not answer, for then that is
            what is wrong, and the subscriber says so.
    """

    def __init__(self, client: Callable[[], Redis], keys: Keys) -> None:
        self.health = HealthCheck(
            logging.getLogger(__name__),
            wrong="Redis stores no events",
            right="Redis stores events again",
        )
        self._client = client
        self._key = keys.probe

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._try()
            await asyncio.sleep(_INTERVAL)

    async def _try(self) -> None:
        try:
            # Our user may not write at all? Then it is another's business, who publishes.
            with translated(), contextlib.suppress(NoPermissionError):
                await self._client().set(self._key, b"", ex=_TTL)
        except BrokerRefused as error:
            self.health.found(str(error))
        except BrokerUnavailable:
            pass
        else:
            self.health.found(None)
