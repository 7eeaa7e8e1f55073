"""Says in the log that somebody fails, and that they are back, without repeating itself."""

import logging
import time
from collections.abc import Callable

_INTERVAL = 60.0  # seconds between two warnings, however often failing and answering alternate


class OutageLog:
    """Logs an outage of `whom` at most once a minute, with how many failures there were.

    `url` is its address, which is logged without a query: there may be a key in it. `clock` is in
    seconds.

    Attributes:
        problem: why it gave no answer the last time; None if it did.
    """

    def __init__(
        self,
        logger: logging.Logger,
        whom: str,
        url: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem: str | None = None
        self._logger, self._whom, self._clock = logger, whom, clock
        self._address = url.partition("?")[0]
        self._failures = 0
        self._told = False
        self._next = float("-inf")

    def failed(self, reason: str) -> None:
        """Take note of a failure; `reason` must be fit for a log."""
        self._failures += 1
        self.problem = reason
        if self._clock() < self._next:
            return
        self._next = self._clock() + _INTERVAL
        self._told = True
        fields = {"reason": reason, "address": self._address, "failures": self._failures}
        self._logger.warning("%s is failing", self._whom, extra={"fields": fields})

    def answered(self) -> None:
        """Take note of an answer."""
        if self._told:
            fields = {"address": self._address, "failures": self._failures}
            self._logger.info("%s answers again", self._whom, extra={"fields": fields})
        self._told = False
        self._failures = 0
        self.problem = None
