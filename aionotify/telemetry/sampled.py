"""A log that samples repeated warnings.

A producer can publish ten thousand malformed messages a second. All are counted; only some are
logged.
"""

import logging
import time
from collections.abc import Mapping
from typing import Final

_INTERVAL: Final = 10.0  # seconds between two of the same
_MAX_MESSAGES: Final = 100  # messages to remember; they are constants, so they are few


class Sampled:
    """Logs each message at most once in ten seconds."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, message: str, fields: Mapping[str, object]) -> None:
        """Log `message` (a constant) with its fields, or count it as left out."""
        now = time.monotonic()
        if now < self._next.get(message, 0):
            self._left_out[message] = self._left_out.get(message, 0) + 1
            return
        if len(self._next) >= _MAX_MESSAGES:
            self._next.clear()
            self._left_out.clear()
        self._next[message] = now + _INTERVAL
        left_out = self._left_out.pop(message, 0)
        more = {"left_out": left_out} if left_out else {}
        self._logger.warning(message, extra={"fields": {**fields, **more}})
