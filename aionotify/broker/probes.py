"""The probes that a node publishes to itself. Knows no Redis."""

import itertools
import time


class Probes:
    """What has become of the probes on one connection.

    Redis answers a probe with its clock, and pub/sub brings it, in either order. When both have
    come, everything that was published before that time was heard. A probe that is not heard though
    a later one is was published at another server than the one that is heard.

    Attributes:
        unheard: how many there were since one was heard last.
        astray: whether one was published, and never heard.
        lag: seconds that the last one took through Redis and back.
    """

    def __init__(self) -> None:
        self.lag = 0.0
        self._numbers = itertools.count(1)
        self._sent_at = 0.0
        self.forget()

    def forget(self) -> None:
        """Begin anew, on another connection."""
        self.unheard = 0
        self.astray = False
        self._answered: dict[int, int] = {}  # when, of those that are not heard yet
        self._early: set[int] = set()  # those that were heard before they were answered

    def send(self) -> int:
        """Return the number of one that is sent now."""
        self.unheard += 1
        self._sent_at = time.monotonic()
        return next(self._numbers)

    def answered(self, number: int, clock: int) -> int | None:
        """A probe was published, when it was so late there.

        Returns the time up to which everything was heard, if that is known now.
        """
        if number in self._early:
            self._early.discard(number)
            return clock
        self._answered[number] = clock
        return None

    def heard(self, number: int) -> int | None:
        """A probe is heard: one that was published before it has been, or never will be.

        Returns the time up to which everything was heard, if that is known now.
        """
        self.unheard = 0
        self.lag = time.monotonic() - self._sent_at
        clock = self._answered.pop(number, None)
        if clock is None:
            self._early.add(number)
            self._early.discard(number - 10)  # its answer will not come any more
        self.astray = self.astray or any(other < number for other in self._answered)
        return clock
