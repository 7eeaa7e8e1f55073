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
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b

from aionotify import tasks
from aionotify.auth.answer import Key
from aionotify.auth.answers import Answers, Moment
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.cache import BoundedCache
from aionotify.auth.identity import MAX_GROUPS, Identity
from aionotify.auth.main_host.breaker import Breaker
from aionotify.auth.main_host.client import Accepted, Denied, MainHostClient
from aionotify.auth.outage_log import OutageLog
from aionotify.auth.revocations import Revocations
from aionotify.auth.single_flight import FlightCancelled, SingleFlight
from aionotify.auth.stats import AuthStats
from aionotify.config import MainHostConfig
from aionotify.errors import AuthFailed, AuthUnavailable, InvalidToken

MAX_KNOWN = 100_000  # tokens; more than a process can hold streams for, about 50 MB when full
MAX_REFUSED = 10_000  # tokens; apart from the known, so that a flood of bad ones pushes out none
MAX_WAITING = 10_000  # questions; a reconnect storm is fewer, a flood of made-up tokens is not
QUEUE_TIMEOUT = 10  # times `timeout` that a question may wait for its turn, before it is put
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
    - Its answers are kept for all nodes, see `Answers`, and theirs count here.
    - A user that it names has at most `max_groups` groups.

    Tokens are remembered as hashes under a key that is made at random for each process. The
    connections are opened when they are needed; `close` closes them. What was
    learned before one of `revocations` does not count. `clock` is in seconds.
    """

    def __init__(
        self,
        config: MainHostConfig,
        *,
        cookie: str | None = None,
        origins: Collection[str] = (),
        stats: AuthStats | None = None,
        revocations: Revocations | None = None,
        answers: Answers | None = None,
        max_groups: int = MAX_GROUPS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(cookie=cookie, origins=origins)
        self.stats = stats if stats is not None else AuthStats()
        self._config = config
        self._clock = clock
        self._hash_key = secrets.token_bytes(32)
        self._known = BoundedCache[bytes, _Known](MAX_KNOWN)
        self._refused = BoundedCache[bytes, float](MAX_REFUSED)
        self._revocations = revocations if revocations is not None else Revocations()
        self._answers = answers
        self._max_groups = max_groups
        self._client = MainHostClient(config, max_groups)
        self._flights = SingleFlight[Accepted | Denied]("aionotify-main-host")
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._breaker = Breaker(clock)
        self._outage = OutageLog(_log, "main host", self._client.url, clock)

    @property
    def problem(self) -> str | None:
        """See `BearerAuthenticator.problem`."""
        return self._outage.problem

    async def close(self) -> None:
        """End what is under way and close the connections. It can't be used afterwards."""
        await self._flights.close()
        await self._client.close()
        self.stats.breaker_open = 0  # nobody is left alone any more

    def inherit(self, other: BearerAuthenticator) -> None:
        """Know what the same main host told `other`: it may be failing just now."""
        if isinstance(other, MainHostAuthenticator) and other._client.url == self._client.url:
            self._hash_key, self._revocations = other._hash_key, other._revocations
            self._known, self._refused = other._known, other._refused

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        """Return the owner of `token`.

        `fresh` asks for an answer of the last five seconds, and never takes a stale one.

        Raises InvalidToken when the main host refuses it; AuthFailed and AuthUnavailable, both
        with `retry_after`, when it gives no answer.
        """
        key = self._key(token)
        if (identity := self._remembered(key, fresh)) is not None:
            return identity
        if not fresh:
            if (identity := await self._find(key, token)) is not None:
                return identity
            # Another request with the token may have got an answer while this one looked.
            if (identity := self._remembered(key, fresh)) is not None:
                return identity
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

    def _remembered(self, key: bytes, fresh: bool) -> Identity | None:
        """Return the owner of a token by an answer of lately; raise InvalidToken for a refusal."""
        ttl = self._config.cache_ttl
        known, now = self._recall(key), self._clock()
        if known is not None and known.is_within(min(ttl, SHARED) if fresh else ttl, now):
            self.stats.cache_accepted += 1
            return self._due(known)
        if now < (self._refused.get(key) or 0.0):
            self.stats.cache_refused += 1
            raise InvalidToken("the token is not valid")
        return None

    def opened(self, token: str) -> None:
        """See `BearerAuthenticator.opened`."""
        if self._answers is not None:
            self._answers.opened(Key(self._client.url, token))

    def ended(self, token: str, *, moves: bool) -> None:
        """See `BearerAuthenticator.ended`."""
        if self._answers is not None:
            self._answers.ended(Key(self._client.url, token), moves=moves)

    async def _find(self, key: bytes, token: str) -> Identity | None:
        """Return whose `token` is by an answer that was kept for all nodes."""
        if self._answers is None:
            return None
        learned = self._revocations.now
        found = await self._answers.find(Key(self._client.url, token), self._config.cache_ttl)
        if found is None or self._revocations.since(learned, found.user_id):
            return None
        if len(found.groups) > self._max_groups:  # by the word of a node that allows more
            return None
        now, known = self._clock(), self._recall(key)
        if now < (self._refused.get(key) or 0.0):
            return None
        if known is None or known.answered < now - found.age:
            expires_at = time.time() + found.lifetime if found.lifetime < math.inf else None
            try:
                groups = frozenset(found.groups)
                identity = Identity(found.user_id, groups=groups, expires_at=expires_at)
            except AuthFailed:  # who can be no user here was none anywhere
                return None
            known = _Known(identity, learned, now - found.age, now + found.lifetime)
            self._known.put(key, known)
        if known.identity.user_id != found.user_id or known.until <= now:
            return None
        self.stats.answer_store_accepted += 1
        return self._due(known)

    def _due(self, known: _Known) -> Identity:
        """Say when the stream that is opened has to be asked about: when its answer is too old."""
        if self._answers is None:
            return known.identity
        now, longest = self._clock(), self._answers.longest
        due, latest = known.answered + longest * random.uniform(0.8, 1.0), known.answered + longest
        if due <= now:
            # Those who were due while they had no node must not be asked about all at once; nor
            # those whose answer may be older, by `cache_ttl`.
            due = random.uniform(now, latest if latest > now else now + longest * 0.2)
        return replace(known.identity, ask_at=time.time() + due - now)

    async def _ask(self, key: bytes, token: str) -> Accepted | Denied:
        if self._breaker.blocks() or len(self._flights) > MAX_WAITING:
            return self._spare()
        try:
            async with tasks.timeout(QUEUE_TIMEOUT * self._config.timeout):
                await self._slots.acquire()
        except TimeoutError:
            return self._spare()
        try:
            if not self._breaker.admit():  # it may have opened while we waited
                return self._spare()
            asked = self._revocations.now
            moment = None if self._answers is None else self._answers.moment()
            answer = await self._exchange(token)
        finally:
            self._slots.release()
        self._remember(key, answer, asked)
        if self._answers is not None:
            self._tell(self._answers, Key(self._client.url, token), answer, moment)
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
        if known is None or self._revocations.since(known.asked, known.identity.user_id):
            return None
        return known

    def _remember(self, key: bytes, answer: Accepted | Denied, asked: int) -> None:
        now = self._clock()
        if isinstance(answer, Accepted):
            self.stats.main_host_accepted += 1
            self._known.put(key, _Known(answer.identity, asked, now, now + answer.lifetime))
        elif answer.error is InvalidToken:
            self.stats.main_host_refused += 1
            self._known.drop(key)
            self._refused.put(key, now + self._config.refusal_ttl)
        else:
            self.stats.main_host_failed += 1
            self._outage.failed(answer.reason)
            return
        self._outage.answered()

    def _tell(
        self, answers: Answers, key: Key, answer: Accepted | Denied, asked: Moment | None
    ) -> None:
        """Have other nodes know what there is to know for certain."""
        if isinstance(answer, Accepted):
            user = answer.identity
            answers.accepted(key, user.user_id, answer.lifetime, asked, user.groups)
        elif answer.error is InvalidToken:
            answers.refused(key)


def _jittered(seconds: float) -> float:
    # Those who are turned away together must not come back together.
    return seconds * random.uniform(1.0, 2.0)
