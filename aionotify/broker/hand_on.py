"""Handing on events of users who are away: to a Redis stream, and to whatever else is asked to.

One node at a time does it: the one that has the lease. What it has handed on it takes away from
what waits only then, so a node that dies leaves events to be handed on again, and none that is not.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from aionotify import tasks
from aionotify.broker.away import KEPT, Away, Due, Looked, Waiting
from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import LATE, Execute
from aionotify.broker.keys import Keys
from aionotify.broker.lease import Leaseholder
from aionotify.errors import BrokerError
from aionotify.events.event_id import event_id
from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.stats import Stats

_USERS: Final = 20  # looked at together
_LOOK_INTERVAL: Final = 1.0  # seconds
_RETRY: Final = (0.5, 60.0)  # seconds, first and longest
_LATER: Final = 10_000  # milliseconds until a user is looked at again whose event was not taken
_LEAVE: Final = 5.0  # seconds that a node takes to finish, when it leaves
_DEAD_LETTERS: Final = 1000  # entries

_log = logging.getLogger(__name__)


class HandedOn(msgspec.Struct):
    """What is handed on.

    Attributes:
        event_id: by which a repetition is known.
        recipient_id: the user who is away.
        time: when it was published, in unix seconds.
        event: as it was published.
    """

    event_id: str
    recipient_id: str
    time: float
    event: msgspec.Raw


class Refused(Exception):
    """It will not be taken, however often it is tried; says why."""


class NotNow(Exception):
    """It was not taken, and is to be tried again; says why."""


class Outlet(Protocol):
    """Where events are handed on to."""

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        """Take events; say of each that is not taken why that is.

        Raises BrokerError when none is.
        """


class RedisStream:
    """A Redis stream, from which the application takes them.

    Args:
        most: about how many entries it keeps; the oldest go first.
    """

    def __init__(self, execute: Execute, name: str, most: int) -> None:
        self._execute = execute
        self._name = name
        self._most = most

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        """Add each as an entry."""
        add = "XADD", self._name, "MAXLEN", "~", self._most, "*"
        await replies(self._execute, *((*add, *_fields(each)) for each in events))
        return [None] * len(events)


class HandOn:
    """Hands on what is due, from when `run` is called.

    Args:
        execute: carries out commands.
        outlet: where to.
        may_take: says whether this node is in a state to do so.

    Attributes:
        lag: seconds since the first event was due that this node was to hand on when it looked
            last; 0 if another node does.
    """

    def __init__(
        self,
        execute: Execute,
        keys: Keys,
        away: Away,
        outlet: Outlet,
        *,
        stats: Stats,
        may_take: Callable[[], bool],
    ) -> None:
        self.lag = 0.0
        self.health = HealthCheck(
            _log, wrong="events not handed on", right="events handed on again"
        )
        self._execute = execute
        self._keys = keys
        self._away = away
        self._outlet = outlet
        self._stats = stats
        self._may_take = may_take
        self._lease = Leaseholder(execute, keys.away_lease)
        self._has_lease = False
        self._looked: list[Looked] = []
        self._failures = 0  # in a row
        self._is_stuck = False  # nothing was taken since it was seen that something is not
        self._leaving = False
        self._rests = asyncio.Event()
        self._rests.set()

    async def run(self) -> None:
        """Hand on what there is, for as long as this is not cancelled."""
        while not self._leaving:
            self._rests.clear()
            try:
                pause = await self._round()
            except BrokerError as error:
                pause = self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - the node lives, and so must this
                _log.exception("handing on failed")
                pause = self._failed(f"{type(error).__name__}: {error}")
            finally:
                self._rests.set()
            tasks.obey()
            await asyncio.sleep(pause)

    async def leave(self) -> None:
        """Begin nothing more, and finish what is under way: what is handed on is to be taken away.

        `run` may be cancelled then.
        """
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with tasks.timeout(_LEAVE):
                await self._rests.wait()

    async def close(self) -> None:
        """Have another node take over, if it is this one that hands on."""
        if self._has_lease:
            with contextlib.suppress(BrokerError, TimeoutError):
                async with tasks.timeout(LATE):
                    await self._lease.give_back()
        await self._lease.close()

    async def _round(self) -> float:
        """Hand on some events; return for how many seconds to rest."""
        lease = await self._lease.take() if self._may_take() else None
        self._found(has_lease=lease is not None)
        if lease is None:
            self._lease.forget()
            self._looked.clear()
            self.lag = 0.0
            return _LOOK_INTERVAL
        looked, self._looked = self._looked, []
        due = await self._away.due(looked, _USERS)
        self._looked, problem = await self._look(due)
        if problem is not None:
            self._is_stuck = True
            self._failed(problem)
            return _LOOK_INTERVAL  # others may be due, whose events are taken
        if not self._is_stuck:
            self._failures = 0
            self.health.found(None)
        return 0 if due else _LOOK_INTERVAL

    async def _look(self, due: Sequence[Due]) -> tuple[list[Looked], str | None]:
        """Hand on what is due of these users.

        Returns when to look at each of them next, and why nothing was taken of what there was.
        """
        found = await asyncio.gather(*(self._away.waiting(each.user_id) for each in due))
        waiting = [
            (each.user_id, event)
            for each, (events, _) in zip(due, found, strict=True)
            for event in events
        ]
        self.lag = 0.0
        if not waiting:
            looked = [
                Looked(each, following) for each, (_, following) in zip(due, found, strict=True)
            ]
            return looked, None
        first = min(event.at for _, event in waiting) / 1000
        self.lag = max(0.0, time.time() - first)
        outcomes = iter(await self._hand_on(waiting))
        looked, problem, any_done = [], None, False
        for each, (events, following) in zip(due, found, strict=True):
            done, late = [], None
            for event in events:
                outcome = next(outcomes)
                if isinstance(outcome, NotNow):
                    late = str(outcome)
                else:
                    done.append(event.position)
            if done:
                any_done, self._is_stuck = True, False
                following = await self._away.take_away(each.user_id, done)
            if late is not None:  # others are not to wait behind what may never be taken
                problem, following = late, f"+{_LATER}"
            looked.append(Looked(each, following))
        return looked, None if any_done else problem

    async def _hand_on(
        self, waiting: Sequence[tuple[str, Waiting]]
    ) -> Sequence[Refused | NotNow | None]:
        events = [
            HandedOn(
                str(event_id(user_id, each.position)),
                user_id,
                each.position / 1_000_000,
                msgspec.Raw(each.event),
            )
            for user_id, each in waiting
        ]
        outcomes = await self._taken(events)
        refused = [
            (event, outcome)
            for event, outcome in zip(events, outcomes, strict=True)
            if isinstance(outcome, Refused)
        ]
        for event, reason in refused:
            fields = {"event_id": event.event_id, "reason": str(reason)}
            _log.warning("an event was not taken", extra={"fields": fields})
        if refused:
            await replies(self._execute, *self._dead_letters(refused))
        self._stats.handed_on["refused"] += len(refused)
        self._stats.handed_on["taken"] += sum(outcome is None for outcome in outcomes)
        return outcomes

    async def _taken(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        """Have them taken, and keep the lease meanwhile."""
        taking = asyncio.ensure_future(self._outlet.take(events))
        try:
            while not taking.done():
                await asyncio.wait({taking}, timeout=_LOOK_INTERVAL)
                with contextlib.suppress(BrokerError):
                    await self._lease.take()
            return await taking
        finally:
            await tasks.cancelled([taking])

    def _dead_letters(
        self, refused: Sequence[tuple[HandedOn, Refused]]
    ) -> Iterator[tuple[str | bytes | int | float, ...]]:
        add = "XADD", self._keys.away_refused, "MAXLEN", _DEAD_LETTERS, "*"
        for each, reason in refused:
            yield (*add, *_fields(each), "reason", str(reason))
        yield "EXPIRE", self._keys.away_refused, KEPT

    def _found(self, *, has_lease: bool) -> None:
        if has_lease != self._has_lease:
            self._has_lease = has_lease
            if has_lease:
                _log.info("hands on events")
            else:
                _log.info("another node hands on events")

    def _failed(self, reason: str) -> float:
        """Take note of a failure; return for how many seconds to rest."""
        self._failures += 1
        self._lease.forget()
        if self._failures > 1:  # a connection may be lost at any time
            self.health.found(reason)
        first, longest = _RETRY
        return min(first * float(2 ** min(self._failures, 10)), longest)


def _fields(event: HandedOn) -> tuple[str | bytes | float, ...]:
    return (
        *("event_id", event.event_id),
        *("recipient_id", event.recipient_id),
        *("time", event.time),
        *("event", bytes(event.event)),
    )
