"""Where "now" is for streams that are about to open, found out for many at a time.

From the moment in which a client sees status 200, all that is published must reach it. So where its
stream begins is known before the headers go: a position read in its inboxes after its live events
have begun to be heard. In a storm of new streams, asking each for itself would cost more than all
else that is done for it. Knows the hub and what it asks an inbox, and nothing of streams.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

from aionotify.events.cursor import Cursor
from aionotify.events.page import Page
from aionotify.events.position import moment, serves_as_now
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Recipient

_BATCH_WINDOW: Final = 0.002  # seconds


class Inboxes(Protocol):
    """What is asked of inboxes."""

    @property
    def fresh(self) -> float:
        """Seconds for which the moment at which one was empty will do as "now"."""

    async def newest(self, recipient_ids: Sequence[str]) -> list[Page | Exception]:
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
        hub.on_subscribed = self._ask_soon
        self._hub = hub
        self._inboxes = inboxes
        self._deadlines = deadlines
        self._together = together
        self._due: list[Recipient] = []  # whose inboxes are to be asked next
        self._task: asyncio.Task[None] | None = None

    async def find(self, recipient: Recipient) -> Cursor:
        """Return where a stream of `recipient` begins that opens now.

        Nearly always that is known, or Redis says so in a millisecond.

        Raises:
            BrokerError: an inbox cannot be read now.
            TimeoutError: it takes longer than `deadlines` allows.
        """
        hub = self._hub
        oldest = moment(time.time() - self._inboxes.fresh)
        unknown = [
            each for each in (hub.everyone, recipient) if not serves_as_now(each.newest, oldest)
        ]
        if unknown:
            loop = asyncio.get_running_loop()
            began = loop.time()
            while unknown:
                for each in unknown:
                    # A future for each who asks: whoever stops waiting does so for himself alone.
                    answer = loop.create_future()
                    each.newcomers.append(answer)
                    if each.subscribed and len(each.newcomers) == 1:
                        self._ask_soon(each)  # or the hub says so, when it is heard
                    await self._deadlines.bound(answer, began)
                unknown = [each for each in (hub.everyone, recipient) if each.newest is None]
        at = hub.position(recipient)
        assert at is not None
        return at

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await self._task

    def _ask_soon(self, recipient: Recipient) -> None:
        self._due.append(recipient)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="aionotify start positions")

    async def _work(self) -> None:
        # The task ends when nothing is asked, so an idle node has none.
        try:
            while self._due:
                due, self._due = self._due, []
                await self._ask(due)
                # Sending is what costs most, when thousands of streams open within a second.
                await asyncio.sleep(self._together)
        finally:
            self._task = None

    async def _ask(self, recipients: list[Recipient]) -> None:
        questions = [each.question(None) for each in recipients]
        try:
            answers = await self._inboxes.newest([each.id for each in recipients])
        except BaseException:
            for recipient in recipients:  # nobody is to wait for what will not come
                for waiter in recipient.newcomers:
                    waiter.cancel()
                recipient.newcomers.clear()
            raise
        for recipient, question, answer in zip(recipients, questions, answers, strict=True):
            newcomers, recipient.newcomers = recipient.newcomers, []
            if isinstance(answer, Page):
                self._hub.apply_page(recipient, question, answer)
            for waiter in newcomers:
                if waiter.done():
                    continue
                if isinstance(answer, Page):
                    waiter.set_result(None)
                else:
                    waiter.set_exception(answer)
                    waiter.exception()  # looked at, even when whoever asked has left
