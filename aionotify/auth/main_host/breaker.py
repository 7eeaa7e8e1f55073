"""A circuit breaker: leaves somebody alone who keeps failing.

Knows neither whom it guards nor how one asks.
"""

import random
import time
from collections.abc import Callable

THRESHOLD = 5  # failures in a row; fewer can be one broken connection pool
FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 10.0  # seconds; one probe in that time costs nobody anything


class Breaker:
    """Opens after five failures in a row, for a time that doubles up to ten seconds.

    When the time is over it lets one call through; that call's success closes it. The times are
    jittered, so that several nodes do not probe in step. `clock` is in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0  # in a row, while closed
        self._pauses = 0  # in a row, while open
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the one behind it is taken to be down."""
        return self._open_until is not None

    @property
    def remaining(self) -> float:
        """Seconds until it is worth while to try again."""
        return max(0.0, self._open_until - self._clock()) if self._open_until is not None else 0.0

    def blocks(self) -> bool:
        """Whether `admit` would say no; changes nothing."""
        return self.is_open and (self._probing or self.remaining > 0)

    def admit(self) -> bool:
        """Whether a call may be made now; if so, its outcome must be reported."""
        if self.blocks():
            return False
        self._probing = self.is_open
        return True

    def report(self, *, success: bool) -> None:
        """Take note of how a call that was admitted went."""
        if success:
            self._failures = self._pauses = 0
            self._open_until = None
            self._probing = False
        elif not self.is_open:
            self._failures += 1
            if self._failures >= THRESHOLD:
                self._open()
        elif self._probing:
            self._open()
        # else: a call from before it opened, which tells nothing new

    def _open(self) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._pauses)
        if pause < LONGEST_PAUSE:
            self._pauses += 1
        self._probing = False
        self._open_until = self._clock() + pause * random.uniform(0.5, 1.0)
