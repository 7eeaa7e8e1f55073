"""Whether more is published than this node can deliver, and what it then does without.

What a node has not taken yet waits in the kernel and in Redis, which cuts off whoever is too far
behind (``client-output-buffer-limit pubsub``): then all is lost that waits. A node that has been
behind for long drops ephemeral events, which are late already, before they are decoded. That is so
much cheaper than to deliver them that it soon has caught up. It drops no durable event. Knows
neither Redis nor events.
"""

import logging
import time
from typing import Final

from aionotify.telemetry.health_check import HealthCheck

_TOLERATED: Final = 2.0  # seconds behind: a burst is delivered, however late
_TOLERATED_OVERLOADED: Final = 0.1  # seconds behind, while there is more than a burst
_RECOVERY: Final = 10.0  # seconds without, after which a node is not overloaded any more

_log = logging.getLogger(__name__)


class Overload:
    """How far a node is behind.

    Attributes:
        behind: whether much waits.
        sheds: whether ephemeral events are to be dropped.
        health: fails from when that begins until it has not been necessary for some seconds.
    """

    def __init__(self) -> None:
        self.behind = self.sheds = False
        self.health = HealthCheck(_log, wrong="overloaded", right="no longer overloaded")
        self._since = self._last = 0.0  # by the monotonic clock

    def taken(self, *, behind: bool) -> None:
        """Something was taken, and much waits, or does not."""
        if not behind:
            self.behind = self.sheds = False
            return
        now = time.monotonic()
        if not self.behind:
            self.behind, self._since = True, now
        if now - self._since > self._tolerated():
            self.sheds = True
            self._begin(now, "more is published than this node can deliver")

    def cut_off(self) -> None:
        """Redis has not kept all that it had for this node, and dropped it with the connection."""
        self._begin(time.monotonic(), "Redis has cut off this node, which was too far behind")

    def look(self) -> None:
        """See whether it is over; to be called every second or so."""
        if self.health.problem is not None and time.monotonic() - self._last > _RECOVERY:
            self.health.found(None)

    def _tolerated(self) -> float:
        return _TOLERATED if self.health.problem is None else _TOLERATED_OVERLOADED

    def _begin(self, now: float, reason: str) -> None:
        self._last = now
        self.health.found(f"overloaded: {reason}")
