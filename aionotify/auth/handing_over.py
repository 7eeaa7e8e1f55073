"""Says to other nodes what this one knows of tokens whose streams it ends, because it leaves."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from aionotify import tasks
from aionotify.auth.vouched import MAX_RECORDS, Message, Vouched, seal

PATIENCE: Final = 0.5  # seconds for a message to go to all nodes and back to its sender

Tell = Callable[[bytes, float], Awaitable[object]]
"""Sends a message to all nodes, this one included, and keeps it for those that start within so many
seconds. All of them hear all messages, revocations in between, in one order. Raises BrokerError.
"""


Vouch = Callable[[str], Vouched | None]
"""Says what is known of a token just now, or None when nothing is."""


class HandingOver:
    """One node's messages to the others.

    Each says which of this node's own messages it has heard back. So whoever hears it can tell
    which revocations were known here when it was written, whatever clocks say; see `Message`.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._source = secrets.token_bytes(16)
        self._number = 0
        self._heard = -1
        self._first_heard = asyncio.Event()

    def hear(self, message: Message) -> bool:
        """Take note of a message; returns whether it is one of ours."""
        if message.source != self._source:
            return False
        self._heard = message.number
        self._first_heard.set()
        return True

    async def say(self, tokens: Iterable[str], vouch: Vouch, hold: float) -> int:
        """Tell all nodes what there is to say of `tokens`, and may be needed for `hold` seconds.

        Returns of how many there was something to say.

        Raises:
            BrokerError: they cannot be told.
            TimeoutError: nothing is heard of what they were told.
        """
        tokens = [token for token in tokens if vouch(token) is not None]
        if tokens and self._heard < 0:
            await self._send([], vouch, hold)
            async with tasks.timeout(PATIENCE):
                await self._first_heard.wait()
        said = 0
        for start in range(0, len(tokens), MAX_RECORDS):
            said += await self._send(tokens[start : start + MAX_RECORDS], vouch, hold)
        return said

    async def _send(self, tokens: Sequence[str], vouch: Vouch, hold: float) -> int:
        source, number = self._source, self._number
        self._number += 1
        # In one step: a revocation that is heard between the two would be taken for known.
        known = [(token, vouched) for token in tokens if (vouched := vouch(token)) is not None]
        records = [seal(vouched, token, source, number) for token, vouched in known]
        message = Message(source, number, self._heard, hold, records)
        async with tasks.timeout(PATIENCE):
            await self._tell(message.encoded(), hold)
        return len(known)
