"""The watch: is whoever opened a stream still allowed to listen?

One task of a node keeps, for all its streams, the next moment at which something has to be done
about each: its token expires, or is due to be asked about again. Moments are jittered, or all
streams of a reconnect storm would be asked about in one second ever after.
"""

import asyncio
import heapq
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aionotify.auth import AuthError, Identity, InvalidToken

_JITTER: Final = 0.2  # of the interval
_AT_ONCE: Final = 32  # questions under way; the main host has its own, higher limit

_log = logging.getLogger("aionotify.watch")

Ask = Callable[[], Awaitable[Identity]]
"""Asks afresh who a stream belongs to; raises AuthError."""


class Watched(Protocol):
    """What the watch asks of a stream."""

    ended: str | None

    def close(self, reason: str) -> None:
        """End it."""


class _Entry:
    """A stream on the watch. Compared by what is due first."""

    __slots__ = ("ask", "due", "identity", "order", "stream")

    def __init__(self, due: float, order: int, stream: Watched, identity: Identity, ask: Ask):
        self.due = due
        self.order = order
        self.stream = stream
        self.identity = identity
        self.ask = ask

    def __lt__(self, other: "_Entry") -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Watch:
    """Ends streams whose token has expired or is refused.

    Args:
        interval: seconds after which a token is asked about again.
        clock: unix seconds, in which `Identity.expires_at` is given.
    """

    def __init__(self, interval: float, *, clock: Callable[[], float] = time.time) -> None:
        self._interval = interval
        self._clock = clock
        self._order = itertools.count()
        self._heap: list[_Entry] = []
        self._sooner = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def add(self, stream: Watched, identity: Identity, ask: Ask) -> None:
        """Watch a stream until it has ended."""
        entry = _Entry(self._due(identity), next(self._order), stream, identity, ask)
        heapq.heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._sooner.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as questions:
            while True:
                self._sooner.clear()
                wait = self._heap[0].due - self._clock() if self._heap else None
                if wait is None or wait > 0:
                    try:
                        async with asyncio.timeout(wait):
                            await self._sooner.wait()
                    except TimeoutError:
                        pass
                    continue
                entry = heapq.heappop(self._heap)
                if entry.stream.ended is not None:
                    continue  # ended meanwhile
                if self._expired(entry.identity):
                    entry.stream.close("token_expired")
                    continue
                await self._slots.acquire()
                questions.create_task(self._question(entry), name="aionotify revalidation")

    async def _question(self, entry: _Entry) -> None:
        try:
            identity = await entry.ask()
        except InvalidToken:
            entry.stream.close("token_refused")
        except AuthError:
            self.add(entry.stream, entry.identity, entry.ask)  # nothing was said about the token
        except Exception:  # noqa: BLE001 - an embedder's own authenticator; its bugs must not end the watch
            _log.exception("revalidation failed")
            self.add(entry.stream, entry.identity, entry.ask)
        else:
            if identity.user_id != entry.identity.user_id:
                entry.stream.close("token_refused")  # it is somebody else's now
            else:
                self.add(entry.stream, identity, entry.ask)
        finally:
            self._slots.release()

    def _due(self, identity: Identity) -> float:
        due = self._clock() + self._interval * random.uniform(1 - _JITTER, 1)
        return due if identity.expires_at is None else min(due, identity.expires_at)

    def _expired(self, identity: Identity) -> bool:
        return identity.expires_at is not None and identity.expires_at <= self._clock()
