"""Where "now" is for streams that are about to open, found out for many at a time.

From the moment in which a client sees status 200, all that is published must reach it. So where its
stream begins is known before the headers go: a position read in its inboxes after its live events
have begun to be heard. In a storm of new streams, asking each for itself would cost more than all
else that is done for it. Knows the hub and what it asks an inbox, and nothing of streams.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from aionotify.batcher import Batcher
from aionotify.errors import InboxRefused
from aionotify.events.cursor import Cursor
from aionotify.events.group import Ordered
from aionotify.events.page import Page
from aionotify.events.position import unreadable
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Recipient

_BATCH_WINDOW: Final = 0.002  # seconds


class Inboxes(Protocol):
    """What is asked of inboxes."""

    async def newest(self, of: Sequence[Ordered]) -> list[Page | Exception]:
        """For each inbox how far it reaches, as a page without entries, or why it is not read."""


class StartPositions:
    """Finds the positions after which there is all that is published from now on.

    Args:
        deadlines: for how long one may wait for what Redis has to say.
        together: seconds; what is to be asked meanwhile goes off in one question.
    """

    def __init__(
        self, hub: Hub, inboxes: Inboxes, deadlines: Deadlines, together: float = _BATCH_WINDOW
    ) -> None:
        self._hub = hub
        self._inboxes = inboxes
        self._deadlines = deadlines
        # Sending is what costs most, when thousands of streams open within a second.
        self._batcher: Batcher[Recipient, Page] = Batcher(
            self._ask, name="aionotify start positions", window=together
        )

    async def find(self, inboxes: Sequence[Recipient]) -> Cursor:
        """Return where a stream begins that opens now and reads these.

        Nearly always that is known, or Redis says so in a millisecond.

        Raises:
            BrokerError: an inbox cannot be read now.
            TimeoutError: it takes longer than `deadlines` allows.
        """
        hub = self._hub
        unknown = [each for each in inboxes if each.newest is None]
        if unknown:
            began = asyncio.get_running_loop().time()
            while unknown:
                for each in unknown:
                    while not each.subscribed:
                        await self._deadlines.bound(each.subscription(), began)
                    await self._deadlines.bound(self._batcher.submit(each), began)
                unknown = [each for each in inboxes if each.newest is None]
        at = hub.position(inboxes)
        assert at is not None
        return at

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._batcher.close()

    async def _ask(self, recipients: list[Recipient]) -> list[Page | Exception]:
        questions = [each.question(None) for each in recipients]
        answers = await self._inboxes.newest([each.of for each in recipients])
        found: list[Page | Exception] = []
        for recipient, question, answer in zip(recipients, questions, answers, strict=True):
            if isinstance(answer, InboxRefused):
                question, answer = unreadable(question, self._hub.settled)
            if isinstance(answer, Page):
                self._hub.apply_page(recipient, question, answer)
            found.append(answer)
        return found
