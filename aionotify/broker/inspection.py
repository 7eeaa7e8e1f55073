"""Questions that one node puts to all nodes: over the control channel, answered into a list.

Knows nothing of what is asked and answered.
"""

import asyncio
import secrets
from typing import Final, NamedTuple

import msgspec

from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.control import Control, Listing, Question
from aionotify.broker.keys import Keys

_TIMEOUT: Final = (
    1.0  # seconds; a node that hangs, or is too old to know the question, never answers
)
_POLL_INTERVAL: Final = 0.02  # seconds
_KEPT: Final = 10  # seconds; an answer that comes too late is nobody's


class Answers(NamedTuple):
    """What nodes have answered.

    Attributes:
        asked: how many nodes heard the question.
        answers: of those that answered in time.
    """

    asked: int
    answers: list[bytes]


class Inspection:
    """Puts questions to all nodes, this one included, and answers those of others."""

    def __init__(self, execute: Execute, keys: Keys) -> None:
        self._execute = execute
        self._keys = keys
        self._script = Script(execute, "inspection.lua")

    async def ask(
        self, user_id: str | None = None, prefix: str = "", listing: Listing | None = None
    ) -> Answers:
        """Ask about the nodes, about a user's streams, or who has streams; see `Question`.

        Raises:
            BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
        """
        name = secrets.token_hex(8)
        question = msgspec.json.encode(Control(question=Question(name, user_id, prefix, listing)))
        [asked] = await replies(self._execute, ("PUBLISH", self._keys.control, question))
        return await self.collect(name, asked)

    async def collect(self, name: str, asked: int) -> Answers:
        """Wait for the answers of as many nodes as were asked, but no longer than a second.

        Raises:
            BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
        """
        collected = self._keys.inspection(name)
        clock = asyncio.get_running_loop().time
        end = clock() + _TIMEOUT
        answered = 0
        while answered < asked and clock() < end:
            await asyncio.sleep(_POLL_INTERVAL)
            [answered] = await replies(self._execute, ("LLEN", collected))
        answers, _ = await replies(self._execute, ("LRANGE", collected, 0, -1), ("DEL", collected))
        return Answers(asked, answers)

    def answer(self, name: str, answer: bytes) -> None:
        """Answer when Redis takes it; if it does not, the one who asks cannot be told either."""
        given = self._script.call((self._keys.inspection(name),), (answer, _KEPT))
        given.add_done_callback(_forget)

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()


def _forget(given: "asyncio.Future[object]") -> None:
    if not given.cancelled():
        given.exception()  # or asyncio would log that nobody has looked
