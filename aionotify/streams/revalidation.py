"""Revalidation: is whoever opened a stream still allowed to listen?

One task of a node keeps, for all its streams, when each is due to be asked about again, and when
its token expires. An expiry waits for no answer. Questions are jittered, or all streams of a
reconnect storm would be asked about in one second ever after.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from aionotify import tasks
from aionotify.auth import AuthError, CredentialsMissing, Identity, InvalidToken
from aionotify.streams.memberships import GroupedStream
from aionotify.streams.reasons import CloseReason
from aionotify.streams.schedule import Schedule

_JITTER: Final = 0.2  # of the interval
_MAX_IN_FLIGHT: Final = 32  # questions under way; the main host has its own, higher limit
_TIMEOUT: Final = 30.0  # seconds for an answer: who asks without a limit must not hold up others
_CLOCK_INTERVAL: Final = 0.5  # seconds; how soon a clock that was set ahead is seen to be
_MAX_TOGETHER: Final = 100  # streams ended in one step of the loop, some 3 ms

_log = logging.getLogger(__name__)

R = TypeVar("R")


class RevalidatedStream(GroupedStream, Protocol):
    """What revalidation asks of a stream."""

    def close(self, reason: CloseReason) -> None:
        """End it."""


@dataclass(slots=True)
class _Entry(Generic[R]):
    stream: RevalidatedStream
    identity: Identity
    request: R


class Revalidation(Generic[R]):
    """Asks again, and ends streams whose token has expired or been refused.

    Args:
        interval: seconds after which a token is asked about again.
        ask: asks afresh who a request is from; raises AuthError.
        regrant: called with a stream and the groups that its token grants by now, if these are
            others than before.
        clock: unix time in seconds, as `Identity.expires_at` is given. It may be set: intervals
            are not measured with it.
        timer: seconds that only go forward.

    Attributes:
        rounds: how often all streams were to be asked about again.
    """

    def __init__(
        self,
        interval: float,
        ask: Callable[[R], Awaitable[Identity]],
        regrant: Callable[[RevalidatedStream, frozenset[str]], None] = lambda stream, groups: None,
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._ask = ask
        self._regrant = regrant
        self._clock = clock
        self._timer = timer
        self._numbers = itertools.count()
        self._entries: dict[int, _Entry[R]] = {}
        self._questions = Schedule()  # by the timer; not of those that are under way
        self._expiries = Schedule()  # by the clock
        self._in_flight = 0
        self._changed = asyncio.Event()
        self.rounds = 0

    def add(
        self, stream: RevalidatedStream, identity: Identity, request: R, *, at_once: bool = False
    ) -> int:
        """Take on a stream that `request` has opened; returns what `discard` wants.

        With `at_once` it is asked about now, whenever it would be due.
        """
        number = next(self._numbers)
        self._entries[number] = _Entry(stream, identity, request)
        self._expire(number, identity)
        self._ask_later(number, self._clock() if at_once else identity.ask_at)
        return number

    def discard(self, number: int) -> None:
        """Ask about it no longer. The stream and its request are let go of at once."""
        del self._entries[number]
        self._questions.discard(number)
        self._expiries.discard(number)

    def adopt(self, other: "Revalidation[R]") -> None:
        """Ask as often as `other` does."""
        if other._interval < self._interval:
            self._ask_within(other._interval)
        self._interval = other._interval

    def ask_all(self, within: float) -> None:
        """Ask about all streams in the next seconds: whoever said who they are is asked no more."""
        self.rounds += 1
        self._ask_within(within)

    def _ask_within(self, seconds: float) -> None:
        latest = self._timer() + seconds
        for number, ask_at in self._questions.items():
            self._questions.put(number, min(ask_at, latest - seconds * random.random()))
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as questions:
            while True:
                self._changed.clear()
                self._end_expired()
                while self._in_flight < _MAX_IN_FLIGHT:
                    number = self._questions.take(self._timer())
                    if number is None:
                        break
                    self._in_flight += 1
                    question = self._question(number, self._entries[number])
                    questions.create_task(question, name="aionotify revalidation: question")
                try:
                    async with tasks.timeout(self._pause()):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    def _end_expired(self) -> None:
        now = self._clock()
        for _ in range(_MAX_TOGETHER):
            number = self._expiries.take(now)
            if number is None:
                break
            self._questions.discard(number)
            self._entries[number].stream.close(CloseReason.TOKEN_EXPIRED)

    def _pause(self) -> float | None:
        """Return for how many seconds nothing is due; None for as long as nothing changes."""
        pauses = []
        if (expires_at := self._expiries.soonest()) is not None:
            # Not for all of the time until then: the clock may be set meanwhile.
            pauses.append(min(expires_at - self._clock(), _CLOCK_INTERVAL))
        ask_at = self._questions.soonest()
        if ask_at is not None and self._in_flight < _MAX_IN_FLIGHT:
            pauses.append(ask_at - self._timer())
        return max(0.0, min(pauses)) if pauses else None

    async def _question(self, number: int, entry: _Entry[R]) -> None:
        try:
            async with tasks.timeout(_TIMEOUT):
                identity = await self._ask(entry.request)
            if identity.user_id != entry.identity.user_id:
                raise InvalidToken("it is somebody else's now")
            if number in self._entries:
                before, entry.identity = entry.identity, identity
                self._expire(number, identity)
                if identity.groups != before.groups:
                    self._regrant(entry.stream, identity.groups)
        except (InvalidToken, CredentialsMissing):  # a session, too, may have been ended
            if number in self._entries:
                entry.stream.close(CloseReason.TOKEN_REFUSED)
            return
        except (AuthError, TimeoutError):
            pass  # nothing was said about the token
        except Exception:  # noqa: BLE001 - an embedder's own authenticator; its bugs must not end ours
            _log.exception("revalidation failed")
        finally:
            if self._in_flight == _MAX_IN_FLIGHT:
                self._changed.set()
            self._in_flight -= 1
        if number in self._entries:
            self._ask_later(number)

    def _ask_later(self, number: int, ask_at: float | None = None) -> None:
        wait = self._interval * random.uniform(1 - _JITTER, 1)
        if ask_at is not None:
            wait = min(wait, ask_at - self._clock())
        moment = self._timer() + wait
        self._questions.put(number, moment)
        if moment == self._questions.soonest():  # or every stream that opens would wake us
            self._changed.set()

    def _expire(self, number: int, identity: Identity) -> None:
        if identity.expires_at is None:
            self._expiries.discard(number)
        else:
            self._expiries.put(number, identity.expires_at)
            if identity.expires_at == self._expiries.soonest():
                self._changed.set()
