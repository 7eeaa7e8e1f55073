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
    """An `Outlet`.

    What it refuses for good is not posted again; when anything else goes wrong, all that was posted
    with it is.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._slots = asyncio.Semaphore(_CONCURRENT)

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | None]:
        """Post each under its event id."""
        answers = await asyncio.gather(*map(self._take, events), return_exceptions=True)
        taken: list[Refused | None] = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            taken.append(answer)
        return taken

    async def _take(self, event: HandedOn) -> Refused | None:
        async with self._slots:
            try:
                await self._post(event.event_id, msgspec.json.encode(event))
            except NotDelivered as error:
                if error.is_final:
                    return Refused(str(error))
                raise NotNow(str(error)) from error
        return None
