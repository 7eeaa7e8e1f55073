"""What the main host answered at one node is good at all of them.

An answer lies in Redis under a keyed hash of its token, and is sealed with a key that only the
token gives. It says whose the token is, when that was asked, by Redis' clock, and the number that
Redis' counter had then. Revocations and refusals take numbers of that counter, so it is told by
counting, and never by a clock, whether an answer is older than one of them.

Knows neither Redis nor the main host, only what it calls them for: see `AnswerStore`.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from aionotify.auth.answer import (
    MAX_SEALED,
    Answer,
    AnswerStore,
    Key,
    Kind,
    Record,
    Reply,
    Write,
)
from aionotify.auth.revocations import Revocations
from aionotify.errors import BrokerError, BrokerUnavailable
from aionotify.telemetry.sampled import Sampled

TIMEOUT: Final = 0.1  # seconds for a look-up; after that the main host is asked
_STEPS: Final = 4  # in that time
MAX_OWED: Final = 10_000  # refusals that Redis would not take
_BATCH_WINDOW: Final = 0.002  # seconds: what is looked up meanwhile goes off in one command
_WRITE_WINDOW: Final = (
    0.05  # seconds: an answer, and that a stream was opened by it, are one command
)
_RETRY_INTERVAL: Final = 1.0  # seconds
_MAX_RECORDS: Final = 64  # records in one command; Redis does nothing else meanwhile

_log = logging.getLogger(__name__)


class Found(NamedTuple):
    """An answer that counts. `age` and `lifetime`, how long the token is good for, in seconds."""

    user_id: str
    age: float
    lifetime: float
    groups: tuple[str, ...] = ()


class Moment(NamedTuple):
    """When a question is put: by which numbers, at which, and at what time by Redis' clock."""

    secret: bytes
    number: int
    at: float


_Waiter = asyncio.Future[tuple[Reply, Record] | None]
_Asked = dict[Key, list[_Waiter]]


class Answers:
    """Answers of the main host, as all nodes know them.

    Whatever goes wrong, it is as if nothing were kept: then the main host is asked.

    Args:
        longest: seconds after which an answer is of no use, `auth.revalidate`.
        keep: seconds for which anything may be relied on that has a number.
        clock: seconds that only go forward.

    Attributes:
        longest: see there.
    """

    def __init__(
        self,
        store: AnswerStore,
        revocations: Revocations,
        *,
        longest: float,
        keep: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.longest = longest
        self._keep = keep
        self._store = store
        self._revocations = revocations
        self._clock = clock
        self._known: tuple[Reply, float] | None = None  # the last one, and when it came
        self._asked: _Asked = {}
        self._writes: list[tuple[bytes, Write]] = []  # by which secret the record is named
        self._owed: dict[Key, object] = {}  # refusals that are not written yet
        self._telling = False  # whether some of them are under way
        self._open: Counter[Key] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it goes off, by the event loop's clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._sampled = Sampled(_log)

    def adopt(self, other: "Answers") -> None:
        """Rely on answers for as long as `other` does."""
        self.longest, self._keep = other.longest, other._keep

    async def close(self) -> None:
        """Write what there is to write."""
        owed = len(self._owed)
        while self._timer is not None and self._revocations.complete:
            self._send()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)
            if 0 < len(self._owed) < owed and self._revocations.complete:  # Redis takes them
                owed = len(self._owed)
                self._send()

    # --- what is known --------------------------------------------------------------------------

    async def find(self, key: Key, young: float) -> Found | None:
        """Return the answer about a token that is younger than `young` seconds.

        While a stream is open with it, or has not come back yet from a node that left, it may be as
        old as is of use at all.
        """
        if not self._revocations.complete:
            return None
        future = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(future)
        self._soon(_BATCH_WINDOW)
        found = await future
        # Somebody may have been revoked of whom nothing was heard here yet.
        if found is None or key in self._owed or not self._has_heard(found[0]):
            return None
        return self._judged(key, found[0], found[1], young)

    def moment(self) -> Moment | None:
        """What `accepted` wants, from before the question was put."""
        if self._known is None or not self._revocations.complete:
            return None
        reply, then = self._known
        return Moment(reply.secret, reply.number, reply.now + self._clock() - then)

    def _has_heard(self, reply: Reply) -> bool:
        return self._revocations.complete and reply.revoked <= self._revocations.number

    def _judged(self, key: Key, reply: Reply, record: Record, young: float) -> Found | None:
        answer = key.unseal(record.sealed, reply.secret)
        if answer is None or self._revocations.outdates(answer.number, answer.user_id):
            return None
        age, lifetime = reply.now - answer.at, answer.ends - reply.now
        # What is from the future was written by another clock, and has no age that is known.
        limit = self.longest if record.is_open else min(young, self.longest)
        if not (0 <= age < limit and lifetime > 0):
            return None
        return Found(answer.user_id, age, lifetime, answer.groups)

    # --- what others get to know ----------------------------------------------------------------

    def accepted(
        self,
        key: Key,
        user_id: str,
        lifetime: float,
        asked: Moment | None,
        groups: Iterable[str] = (),
    ) -> None:
        """Keep an answer. `lifetime` is in seconds, infinite when it is not known.

        One that is too long, by the names of its groups, is not kept: other nodes ask for
        themselves.
        """
        now = self.moment()
        if asked is None or now is None or asked.secret != now.secret:
            return
        ttl = min(self.longest - (now.at - asked.at), lifetime)
        if ttl <= 0:
            return
        answer = Answer(user_id, asked.number, asked.at, now.at + lifetime, tuple(groups))
        sealed, at = key.seal(answer, now.secret), int(asked.at * 1_000_000)
        if len(sealed) > MAX_SEALED:
            return
        self._write(key, "answered", asked.number, at, math.ceil(ttl), sealed)
        if key in self._open:
            self._write(key, "opened")

    def refused(self, key: Key) -> None:
        """Have no answer count that was asked for before now."""
        self._owed[key] = object()
        if len(self._owed) > MAX_OWED:
            del self._owed[next(iter(self._owed))]
        self._soon(_BATCH_WINDOW)

    def opened(self, key: Key) -> None:
        """A stream was opened with a token."""
        self._open[key] += 1
        if self._open[key] == 1:
            self._write(key, "opened")

    def ended(self, key: Key, *, moves: bool) -> None:
        """One has ended; with `moves` because this node leaves, so its client goes to another."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]
            if not moves:
                self._write(key, "ended")

    def _write(self, key: Key, kind: Kind, *details: Any) -> None:
        if (now := self.moment()) is not None:
            self._writes.append((now.secret, Write(key.name(now.secret), kind, *details)))
            self._soon(_WRITE_WINDOW)

    # --- together -------------------------------------------------------------------------------

    def _soon(self, seconds: float) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer, self._due = loop.call_later(seconds, self._send), due

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asked = {key: self._asked.pop(key) for key in list(islice(self._asked, _MAX_RECORDS))}
        writes, self._writes = self._writes[:_MAX_RECORDS], self._writes[_MAX_RECORDS:]
        # Some at a time, or a slow Redis would be told the same with each look-up.
        refused = {} if self._telling else dict(islice(self._owed.items(), _MAX_RECORDS))
        self._telling = self._telling or bool(refused)
        if self._asked or self._writes:
            self._soon(0)
        if not (asked or writes or refused):
            return  # what is owed goes after what is under way
        work = self._carry_out(asked, writes, refused)
        task = asyncio.create_task(work, name="aionotify answers")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(
        self, asked: _Asked, writes: Sequence[tuple[bytes, Write]], refused: dict[Key, object]
    ) -> None:
        told = False
        try:
            exchange = asyncio.create_task(
                self._exchange(asked, writes, refused), name="aionotify answers: exchange"
            )
            if asked and not await _is_done_soon(exchange):
                for waiting in asked.values():
                    _settle(waiting, None)
            reply = await exchange
            told = True
            for waiting, record in zip(asked.values(), reply.records, strict=True):
                _settle(waiting, None if record is None else (reply, Record(*record)))
            for key, refusal in refused.items():
                if self._owed.get(key) is refusal:
                    del self._owed[key]
        except BrokerUnavailable:  # others say so
            pass
        except (BrokerError, ValueError) as error:  # or whatever somebody has put in its place
            self._sampled.warning("answers cannot be kept", {"reason": str(error)})
        finally:
            if refused:
                self._telling = False
            for waiting in asked.values():
                _settle(waiting, None)
        if refused and self._owed:
            self._soon(0 if told else _RETRY_INTERVAL)

    async def _exchange(
        self, asked: Iterable[Key], writes: Sequence[tuple[bytes, Write]], refused: Iterable[Key]
    ) -> Reply:
        for _ in range(2):
            secret = b"" if self._known is None else self._known[0].secret
            # Refusals first, so that no answer of this node is put after its own refusal.
            wanted = [Write(key.name(secret), "refused") for key in refused]
            wanted += [write for named_by, write in writes if named_by == secret]
            names = [key.name(secret) for key in asked]
            reply = Reply(*await self._store.exchange(secret, wanted, names, self._keep))
            self._known = reply, self._clock()
            if reply.secret == secret:
                return reply
        raise ValueError("each time another secret")


async def _is_done_soon(task: asyncio.Task[Reply]) -> bool:
    # In steps: whoever is late because this process is, and not Redis, must not give up just when
    # all clients of another node come here. The reply has come by then, and wants to be read.
    for _ in range(_STEPS):
        done, _ = await asyncio.wait({task}, timeout=TIMEOUT / _STEPS)
        if done:
            return True
    return False


def _settle(waiting: Iterable[_Waiter], found: tuple[Reply, Record] | None) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(found)
