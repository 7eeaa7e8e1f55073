"""How a node leaves: its streams end one after the other, and what is known of their tokens moves.

Spreading is for the sake of those to whom they go: the other nodes, Redis and the main host.
"""

import asyncio
import logging
import random
from typing import Final

from aiohttp import web

from aionotify import tasks
from aionotify.errors import BrokerError
from aionotify.streams.reasons import CloseReason
from aionotify.streams.revalidation import Leaving
from aionotify.web.services import Services

_STEPS: Final = 200  # batches of streams that are ended together; each costs Redis two commands
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two of them
_COMEBACK: Final = 60.0  # seconds in which clients come back, for the next node may have to start

_log = logging.getLogger(__name__)


async def leave(services: Services, seconds: float) -> None:
    """Take no new streams, and end the open ones spread over `seconds`.

    Raises TimeoutError: some did not end.
    """
    hub, revalidation = services.hub, services.revalidation
    hub.closed = True
    numbers = revalidation.numbers()
    random.shuffle(numbers)
    pause = min(max(seconds / _STEPS, _SHORTEST), _LONGEST)
    steps = max(1, int(seconds * 0.9 / pause))
    size = -(-len(numbers) // steps)
    farewell = _Farewell(services)
    while numbers:
        leaving = revalidation.leaving(numbers[-size:])
        del numbers[-size:]
        await farewell.say(leaving, len(numbers) / size * pause + _COMEBACK)
        for each in leaving:
            each.stream.close(CloseReason.DRAIN)
        await asyncio.sleep(pause if numbers else 0)
    farewell.done()
    for stream in hub.streams():  # those that were being opened when it began
        stream.close(CloseReason.DRAIN)
    async with tasks.timeout(max(1.0, seconds * 0.1)):
        await hub.empty()


class _Farewell:
    """Hands over what is known of streams, for as long as that goes well."""

    def __init__(self, services: Services) -> None:
        self._authenticator = services.authenticator
        self._well = True
        self._tokens = 0

    async def say(self, leaving: list[Leaving[web.Request]], hold: float) -> None:
        if not self._well:
            return  # whoever waits for Redis keeps streams from ending in time
        try:
            tokens = [(each.request, each.due) for each in leaving]
            self._tokens += await self._authenticator.hand_over(tokens, hold)
        except (BrokerError, TimeoutError) as error:
            self._well = False
            reason = str(error) or "not heard of in time"
            _log.warning("could not hand over", extra={"fields": {"reason": reason}})

    def done(self) -> None:
        if self._tokens:
            _log.info("handed over", extra={"fields": {"tokens": self._tokens}})
