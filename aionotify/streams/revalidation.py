"""Revalidation: is whoever opened a stream still allowed to listen?

One task of a node keeps, for all its streams, the next moment at which something has to be done
about each: its token expires, or is due to be asked about again. Moments are jittered, or all
streams of a reconnect storm would be asked about in one second ever after.
"""

import asyncio
import heapq
import itertools
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from aionotify import tasks
from aionotify.auth import AuthError, CredentialsMissing, Identity, InvalidToken
from aionotify.streams.reasons import CloseReason

_JITTER: Final = 0.2  # of the interval
_MOMENT: Final = 0.01  # seconds; clocks need not agree to the last bit on when it is time
_MAX_IN_FLIGHT: Final = 32  # questions under way; the main host has its own, higher limit
_TIMEOUT: Final = 30.0  # seconds for an answer: who asks without a limit must not hold up others

_log = logging.getLogger(__name__)

R = TypeVar("R")


class RevalidatedStream(Protocol):
    """What revalidation asks of a stream."""

    def close(self, reason: CloseReason) -> None:
        """End it."""


@dataclass(slots=True)
class _Entry(Generic[R]):
    stream: RevalidatedStream
    identity: Identity
    request: R
    ask_at: float = 0.0


class Revalidation(Generic[R]):
    """Asks again, and ends streams whose token has expired or been refused.

    Args:
        interval: seconds after which a token is asked about again.
        ask: asks afresh who a request is from; raises AuthError.
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
        *,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = interval
        self._ask = ask
        self._clock = clock
        self._timer = timer
        self._numbers = itertools.count()
        self._entries: dict[int, _Entry[R]] = {}
        self._heap: list[tuple[float, int]] = []  # when something is due, and for which entry
        self._sooner = asyncio.Event()
        self._slots = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self.rounds = 0

    def add(
        self, stream: RevalidatedStream, identity: Identity, request: R, *, at_once: bool = False
    ) -> int:
        """Take on a stream that `request` has opened; returns what `discard` wants.

        With `at_once` it is asked about now, whenever it would be due.
        """
        number = next(self._numbers)
        self._entries[number] = entry = _Entry(stream, identity, request)
        self._schedule(number, entry, self._clock() if at_once else identity.ask_at)
        return number

    def discard(self, number: int) -> None:
        """Ask about it no longer. The stream and its request are let go of at once."""
        del self._entries[number]
        if len(self._heap) > 2 * len(self._entries) + _MAX_IN_FLIGHT:
            self._heap = [due for due in self._heap if due[1] in self._entries]
            heapq.heapify(self._heap)

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
        # The others are being asked about just now.
        waiting = {number for _, number in self._heap if number in self._entries}
        for number in waiting:
            entry = self._entries[number]
            entry.ask_at = min(entry.ask_at, latest - seconds * random.random())
        self._heap = [(self._due(self._entries[number]), number) for number in waiting]
        heapq.heapify(self._heap)
        self._sooner.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as questions:
            while True:
                self._sooner.clear()
                wait = self._heap[0][0] - self._timer() if self._heap else None
                if wait is None or wait > 0:
                    try:
                        async with tasks.timeout(wait):
                            await self._sooner.wait()
                    except TimeoutError:
                        pass
                    continue
                _, number = heapq.heappop(self._heap)
                entry = self._entries.get(number)
                if entry is None:
                    continue  # discarded meanwhile
                if self._expired(entry.identity):
                    entry.stream.close(CloseReason.TOKEN_EXPIRED)
                    continue
                if self._timer() < entry.ask_at:
                    # It was to expire, but the clock has been set back.
                    self._push(number, entry, _MOMENT)
                    continue
                await self._slots.acquire()
                question = self._question(number, entry)
                questions.create_task(question, name="aionotify revalidation: question")

    async def _question(self, number: int, entry: _Entry[R]) -> None:
        try:
            async with tasks.timeout(_TIMEOUT):
                identity = await self._ask(entry.request)
            if identity.user_id != entry.identity.user_id:
                raise InvalidToken("it is somebody else's now")
            entry.identity = identity
        except (InvalidToken, CredentialsMissing):  # a session, too, may have been ended
            if number in self._entries:
                entry.stream.close(CloseReason.TOKEN_REFUSED)
            return
        except (AuthError, TimeoutError):
            pass  # nothing was said about the token
        except Exception:  # noqa: BLE001 - an embedder's own authenticator; its bugs must not end ours
            _log.exception("revalidation failed")
        finally:
            self._slots.release()
        if number in self._entries:
            self._schedule(number, entry)

    def _schedule(self, number: int, entry: _Entry[R], ask_at: float | None = None) -> None:
        wait = self._interval * random.uniform(1 - _JITTER, 1)
        if ask_at is not None:
            wait = min(wait, ask_at - self._clock())
        entry.ask_at = self._timer() + wait
        self._push(number, entry)

    def _push(self, number: int, entry: _Entry[R], at_least: float = -math.inf) -> None:
        heapq.heappush(self._heap, (self._due(entry, at_least), number))
        if self._heap[0][1] == number:
            self._sooner.set()

    def _due(self, entry: _Entry[R], at_least: float = -math.inf) -> float:
        expires_at = entry.identity.expires_at
        if expires_at is None:
            return entry.ask_at
        return min(entry.ask_at, self._timer() + max(expires_at - self._clock(), at_least))

    def _expired(self, identity: Identity) -> bool:
        return identity.expires_at is not None and identity.expires_at <= self._clock()
