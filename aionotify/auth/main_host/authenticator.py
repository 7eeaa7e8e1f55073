"""The main host says whose a token is; we remember, and ask no more than it can bear.

Decides when it is asked and what its answer means for later. How it is asked is
`main_host_client`'s; what a stream is, nobody's here.
"""

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from aionotify import tasks
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.cache import BoundedCache
from aionotify.auth.handing_over import Tell
from aionotify.auth.identity import Identity
from aionotify.auth.main_host.breaker import Breaker
from aionotify.auth.main_host.client import Accepted, Denied, MainHostClient
from aionotify.auth.moving import Moving
from aionotify.auth.outage_log import OutageLog
from aionotify.auth.revocations import Revocations
from aionotify.auth.single_flight import FlightCancelled, SingleFlight
from aionotify.auth.stats import AuthStats
from aionotify.auth.vouched import Vouched
from aionotify.config import MainHostConfig
from aionotify.errors import AuthFailed, AuthUnavailable, InvalidToken

MAX_KNOWN = 100_000  # tokens; more than a process can hold streams for, about 50 MB when full
MAX_REFUSED = 10_000  # tokens; apart from the known, so that a flood of bad ones pushes out none
MAX_FORGOTTEN = 10_000  # users; after so many others, what is known from before is asked again
MAX_WAITING = 10_000  # questions; a reconnect storm is fewer, a flood of made-up tokens is not
PATIENCE = 10  # timeouts that a question may wait for its turn, before it is put
SHARED = 5.0  # seconds in which one fresh answer serves all streams of a token

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """A user that the main host has named.

    Times are in seconds of our clock; `asked` is `Revocations.now` of before the question.
    """

    identity: Identity
    asked: int
    answered: float
    until: float

    def is_within(self, age: float, now: float) -> bool:
        return now - self.answered < age and now < self.until


class MainHostAuthenticator(BearerAuthenticator):
    """Asks the main host about tokens.

    - An answer serves all that ask for the same token until it comes, and then for `cache_ttl`
      seconds (a refusal for `refusal_ttl`), but never beyond the `expires_in` that it gave.
    - At most `max_concurrency` questions are put at a time. After several failures in a row it is
      left alone for a while.
    - While it fails, a token that it accepted within the last `stale_if_error` seconds still works.
    - What a node that left has said of a token counts until that node would have asked again.

    Tokens are remembered as hashes under a key that is made at random for each process. The
    connections are opened when they are needed; `close` closes them. `tell` reaches all nodes,
    `revalidate` and `clock` are in seconds.
    """

    moving: Moving

    def __init__(
        self,
        config: MainHostConfig,
        *,
        cookie: str | None = None,
        origins: Collection[str] = (),
        stats: AuthStats | None = None,
        tell: Tell | None = None,
        revalidate: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(cookie=cookie, origins=origins)
        self.stats = stats if stats is not None else AuthStats()
        self._config = config
        self._clock = clock
        self._hash_key = secrets.token_bytes(32)
        self._known = BoundedCache[bytes, _Known](MAX_KNOWN)
        self._refused = BoundedCache[bytes, float](MAX_REFUSED)
        self._forgotten = Revocations(MAX_FORGOTTEN)
        self.moving = Moving(tell, self._forgotten, revalidate, clock)
        self._client = MainHostClient(config)
        self._flights = SingleFlight[Accepted | Denied]("aionotify-main-host")
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._breaker = Breaker(clock)
        self._outage = OutageLog(_log, "main host", clock)

    async def close(self) -> None:
        """End what is under way and close the connections. It can't be used afterwards."""
        await self._flights.close()
        await self._client.close()
        self.stats.breaker_open = 0  # nobody is left alone any more

    def inherit(self, other: BearerAuthenticator) -> None:
        """Know what the same main host told `other`: it may be failing just now."""
        if isinstance(other, MainHostAuthenticator) and other._client.url == self._client.url:
            self._hash_key, self._forgotten = other._hash_key, other._forgotten
            self._known, self._refused = other._known, other._refused
            other.moving.adopt(self.moving)
            self.moving = other.moving

    def forget(self, user_id: str) -> None:
        """Ask again about every token of `user_id`, instead of answering from memory."""
        self._forgotten.add(user_id)

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        """Return the owner of `token`.

        `fresh` asks for an answer of the last five seconds, and never takes a stale one.

        Raises InvalidToken when the main host refuses it; AuthFailed and AuthUnavailable, both
        with `retry_after`, when it gives no answer.
        """
        key = self._key(token)
        ttl = self._config.cache_ttl
        known, now = self._recall(key), self._clock()
        if known is not None and known.is_within(min(ttl, SHARED) if fresh else ttl, now):
            self.stats.cache_accepted += 1
            return known.identity
        if now < (self._refused.get(key) or 0.0):
            self.stats.cache_refused += 1
            raise InvalidToken("the token is not valid")
        if not fresh and (moved := self._take_over(key, token)) is not None:
            self.stats.handed_over_accepted += 1
            return moved
        while True:
            try:
                answer = await self._flights.run(key, partial(self._ask, key, token))
            except FlightCancelled:
                raise AuthUnavailable("aionotify is stopping", retry_after=_jittered(1.0)) from None
            if not isinstance(answer, Accepted):
                break
            if self._recall(key) is not None:
                return answer.identity
            # The user was forgotten meanwhile; what was said before that does not count.
        if answer.error is InvalidToken:
            raise InvalidToken(answer.message)
        if not fresh:
            known = self._recall(key)
            if known and known.is_within(self._config.stale_if_error, self._clock()):
                self.stats.stale_accepted += 1
                return known.identity
        raise answer.error(answer.message, retry_after=answer.retry_after or _jittered(1.0))

    async def hand_over(self, tokens: Mapping[str, float], hold: float) -> int:
        """See `BearerAuthenticator.hand_over`."""
        began = self._clock()

        def vouch(token: str) -> Vouched | None:
            return self._vouch(token, tokens[token] + began - self._clock())

        return await self.moving.say(tokens, vouch, hold)

    def _vouch(self, token: str, due: float) -> Vouched | None:
        known, now = self._recall(self._key(token)), self._clock()
        if known is None or known.asked < self.moving.unsure:
            return None
        return Vouched(known.identity.user_id, now - known.answered, due, known.until - now)

    def _take_over(self, key: bytes, token: str) -> Identity | None:
        """Return whose `token` was at a node that left, for as long as nobody was to ask there."""
        moved = self.moving.find(token)
        if moved is None:
            return None
        known, now, wall = self._recall(key), self._clock(), time.time()
        if known is None or known.answered < moved.answered:
            expires_at = wall + moved.until - now if moved.until < math.inf else None
            try:
                identity = Identity(moved.user_id, expires_at=expires_at)
            except AuthFailed:  # who can be no user here was none there
                return None
            known = _Known(identity, moved.learned, moved.answered, moved.until)
            self._known.put(key, known)
        if known.identity.user_id != moved.user_id or now >= min(moved.latest, known.until):
            return None
        # Those who were due while they had no node must not be asked about all at once.
        due = moved.due if moved.due > now else random.uniform(now, moved.latest)
        return replace(known.identity, ask_at=wall + min(due, moved.latest) - now)

    async def _ask(self, key: bytes, token: str) -> Accepted | Denied:
        if self._breaker.blocks() or len(self._flights) > MAX_WAITING:
            return self._spare()
        try:
            async with tasks.timeout(PATIENCE * self._config.timeout):
                await self._slots.acquire()
        except TimeoutError:
            return self._spare()
        try:
            if not self._breaker.admit():  # it may have opened while we waited
                return self._spare()
            asked = self._forgotten.now
            answer = await self._exchange(token)
        finally:
            self._slots.release()
        self._remember(key, token, answer, asked)
        return answer

    def _spare(self) -> Denied:
        self.stats.main_host_spared += 1
        pause = _jittered(self._breaker.remaining + 1.0)
        return Denied(AuthUnavailable, "the main host is overloaded or down", retry_after=pause)

    async def _exchange(self, token: str) -> Accepted | Denied:
        started, well = time.perf_counter(), False
        try:
            answer = await self._client.ask(token)
            well = isinstance(answer, Accepted) or not answer.unwell
        finally:
            self._breaker.report(success=well)
            self.stats.breaker_open = int(self._breaker.is_open)
            self.stats.main_host_latency.observe(time.perf_counter() - started)
        return answer

    def _key(self, token: str) -> bytes:
        return blake2b(token.encode(), key=self._hash_key, digest_size=16).digest()

    def _recall(self, key: bytes) -> _Known | None:
        known = self._known.get(key)
        if known is None or self._forgotten.since(known.asked, known.identity.user_id):
            return None
        return known

    def _remember(self, key: bytes, token: str, answer: Accepted | Denied, asked: int) -> None:
        now = self._clock()
        if isinstance(answer, Accepted):
            self.stats.main_host_accepted += 1
            self._known.put(key, _Known(answer.identity, asked, now, now + answer.lifetime))
        elif answer.error is InvalidToken:
            self.stats.main_host_refused += 1
            self._known.drop(key)
            self._refused.put(key, now + self._config.refusal_ttl)
            self.moving.void(token)
        else:
            self.stats.main_host_failed += 1
            self._outage.failed(answer.message)
            return
        self._outage.answered()


def _jittered(seconds: float) -> float:
    # Those who are turned away together must not come back together.
    return seconds * random.uniform(1.0, 2.0)
