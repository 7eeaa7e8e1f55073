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

from aionotify.broker.connect import translated
from aionotify.broker.names import Names
from aionotify.condition import Condition
from aionotify.errors import BrokerRefused, BrokerUnavailable

_EVERY: Final = 2.0  # seconds
_TTL: Final = 60  # seconds


class Store:
    """Tries a write of no consequence, again and again.

    Attributes:
        condition: whether it succeeds; unchanged while Redis does not answer, for then that is
            what is wrong, and the listener says so.
    """

    def __init__(self, client: Callable[[], Redis], names: Names) -> None:
        self.condition = Condition(
            logging.getLogger("aionotify.store"),
            wrong="Redis stores no events",
            right="Redis stores events again",
        )
        self._client = client
        self._key = names.probe

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._try()
            await asyncio.sleep(_EVERY)

    async def _try(self) -> None:
        try:
            # Our user may not write at all? Then it is another's business, who publishes.
            with translated(), contextlib.suppress(NoPermissionError):
                await self._client().set(self._key, b"", ex=_TTL)
        except BrokerRefused as error:
            self.condition.found(str(error))
        except BrokerUnavailable:
            pass
        else:
            self.condition.found(None)
