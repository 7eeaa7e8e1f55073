"""Whose rights have changed since something was learned of them.

Two counters say what came first, and no clock. `now` counts what is heard here: what this process
has learned itself goes by that. Numbers are given out by Redis, one for each revocation: what comes
from other nodes, as answers and tickets do, goes by those.
"""

from typing import Final, NamedTuple

from aionotify.auth.cache import BoundedCache

MAX_USERS: Final = 10_000  # after so many others, what is known from before is asked about again


class _Change(NamedTuple):
    now: int
    number: float

    def or_later(self, other: "_Change") -> "_Change":
        return _Change(max(self.now, other.now), max(self.number, other.number))


class Revocations:
    """Users, each with the latest change of their rights.

    Takes no time however much is remembered elsewhere: what is known of a user is not looked for
    when they change, but compared with `now`, or the number, of when it was learned, when it is
    used. `size` users are kept. What was learned before the change of one that had to go counts as
    outdated, whoever it is about.

    Attributes:
        now: how many changes were heard here.
        number: of the last revocation that is known here, with all before it.
        complete: whether those that come are heard, and those that were missed have been read.
    """

    def __init__(self, size: int = MAX_USERS) -> None:
        self.now = 0
        self.number = 0.0
        self.complete = False
        self._latest = BoundedCache[str, _Change](size)
        self._outdated = _Change(0, 0.0)

    def add(self, user_id: str, number: float = 0.0) -> None:
        """Take note of a change, and of its number if it has one."""
        self.now += 1
        change = _Change(self.now, max(number, self._last(user_id).number))
        gone = self._latest.put(user_id, change)
        if gone is not None:
            self._outdate(gone)

    def miss(self, number: float) -> bool:
        """Take note that somebody was revoked up to `number`, and nobody can tell who.

        Returns whether that is later than all that is known here.
        """
        missed = number > self.number
        if missed:
            self.now += 1
            self._outdate(_Change(self.now, number))
        return missed

    def forget(self, number: float) -> None:
        """Begin anew with numbers that others give out: nothing counts that was learned before.

        `number` is the last one that they have given out.
        """
        self.now += 1
        self._latest.clear()
        self._outdated = _Change(self.now, number)
        self.number = number

    def since(self, learned: int, user_id: str) -> bool:
        """Whether what was known here when `now` was `learned` is of no use any more."""
        return learned < self._last(user_id).now

    def outdates(self, number: float, user_id: str) -> bool:
        """Whether what was learned anywhere by `number` is of no use any more."""
        return number < self._last(user_id).number

    def knows(self, number: float, user_id: str) -> bool:
        """Whether a revocation with that number has been noted."""
        return number <= self._last(user_id).number

    def _last(self, user_id: str) -> _Change:
        latest = self._latest.get(user_id)
        return self._outdated if latest is None else latest.or_later(self._outdated)

    def _outdate(self, change: _Change) -> None:
        self._outdated = change.or_later(self._outdated)
