"""Hands events of users who are away on to a webhook, each in a post of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from aionotify.broker.hand_on import HandedOn, NotNow, Refused
from aionotify.webhook.sender import NotDelivered

_CONCURRENT: Final = 10  # posts

Post = Callable[[str, bytes], Awaitable[None]]
"""Posts a body under an id. Raises NotDelivered."""


class AwayWebhook:
    """An `Outlet`."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        """Post each under its event id."""
        return await asyncio.gather(*map(self._take, events))

    async def _take(self, event: HandedOn) -> Refused | NotNow | None:
        async with self._slots:
            try:
                await self._post(event.event_id, msgspec.json.encode(event))
            except NotDelivered as error:
                return (Refused if error.is_final else NotNow)(str(error))
        return None
