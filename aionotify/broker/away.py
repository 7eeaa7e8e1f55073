"""Events that wait for users who are away: each is to be written to a stream of its user, or else
to be handed on.

What waits lies beside the inbox it is in, and is stored with it in one step (append.lua). Whom to
look at, and when, is another key, in another slot of a cluster: users are noted there before
anything is stored, so whoever dies in between leaves a look for nothing, and never an event that
nobody looks for.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from aionotify.batcher import Batcher
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.config import AwayConfig
from aionotify.events.away_rules import NO_RULES, AwayRule, AwayRules
from aionotify.events.event import Event
from aionotify.events.event_id import mark_of

KEPT: Final = 604800
"""Seconds for which an event waits to be handed on after it is due, if nobody takes it."""
_EVENTS: Final = 50  # of one user, at a time
_BYTES: Final = 1 << 18  # of one user's events at a time, but never less than one
_AGAIN: Final = 30_000  # milliseconds; who publishes has stored his event by then, or never will


def rules_of(config: AwayConfig) -> AwayRules:
    """The rules that are configured for types of events."""
    return AwayRules({type: AwayRule(*each) for type, each in config.rules.items()})


class Due(NamedTuple):
    """A user who is to be looked at, and since when (as Redis writes it, in milliseconds)."""

    user_id: str
    at: str


class Looked(NamedTuple):
    """A user who was looked at, and when the next event is due (as Redis writes it), ``""`` if none
    is, or ``"+"`` and in how many milliseconds to look again.
    """

    due: Due
    following: str


class Waiting(NamedTuple):
    """An event that is due.

    Attributes:
        position: in its inbox.
        at: when it was due, in milliseconds by Redis' clock.
        until: ``"written"`` or ``"read"``: what did not happen until then.
        event: as it was published.
    """

    position: int
    at: int
    until: str
    event: bytes


class Written(NamedTuple):
    """An event that was written to a stream of its user."""

    user_id: str
    position: int


class Away:
    """What waits, in Redis. All methods raise BrokerUnavailable and BrokerRefused."""

    def __init__(self, execute: Execute, keys: Keys, rules: AwayRules = NO_RULES) -> None:
        self.execute = execute
        self._keys = keys
        self._rules = rules
        self._due = Script(execute, "due.lua")
        self._script = Script(execute, "away.lua")
        self._written: Batcher[Written, None] = Batcher(
            self._take_away, name="aionotify written to streams"
        )

    def written(self, user_id: str, position: int, event: Event) -> None:
        """An event was written to a stream of its user; if it waits for that, have it wait no more.

        If Redis does not take that, the event is handed on all the same: that is at least once.
        """
        rule = self._rules.of(event)
        if rule is not None and rule.until == "written":
            self._written.submit(Written(user_id, position))

    async def due(self, looked: Sequence[Looked], most: int) -> list[Due]:
        """Say what was found of users who were due, and return who is due now."""
        words: list[str | int] = [most, _AGAIN, KEPT]
        for (user_id, at), following in looked:
            words += user_id, at, following
        keys = self._keys.away_due, self._keys.away_again
        reply = await self._due.call(keys, tuple(words))
        return [
            Due(user_id.decode(), at.decode())
            for user_id, at in zip(reply[::2], reply[1::2], strict=True)
        ]

    async def waiting(self, user_id: str) -> tuple[list[Waiting], str]:
        """Return which events of a user are due, and when the one after these is, or ''."""
        following, *words = await self._call(user_id, _EVENTS, _BYTES)
        found = []
        for position, at, value in zip(words[::3], words[1::3], words[2::3], strict=True):
            until, _, event = value.partition(b" ")
            found.append(Waiting(int(position), int(float(at)), until.decode(), event))
        return found, following.decode()

    async def take_away(self, user_id: str, positions: Sequence[int]) -> str:
        """Have events of a user not wait any more; return when the next one is due, or ''."""
        [following] = await self._call(user_id, 0, 0, positions)
        return bytes(following).decode()

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._written.close()
        for script in (self._due, self._script):
            await script.close()

    async def _take_away(self, written: list[Written]) -> list[Exception | None]:
        positions: dict[str, list[int]] = {}
        for user_id, position in written:
            positions.setdefault(user_id, []).append(position)
        calls = [self._call(user_id, 0, 0, each) for user_id, each in positions.items()]
        for call in calls:
            await call
        return [None] * len(written)

    def _call(
        self, user_id: str, most: int, size: int, done: Sequence[int] = ()
    ) -> "asyncio.Future[list[bytes]]":
        names = self._keys
        keys = names.away(user_id), names.away_events(user_id), names.read(user_id)
        return self._script.call(keys, (most, size, mark_of(user_id), *done))
