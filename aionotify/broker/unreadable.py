"""The inboxes that Redis refuses to read: of another type, without a right to them, and the like.

Streams go on without such an inbox, and are told that events may be missing. Whoever runs the
server has to hear of it, for nobody else can change it.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aionotify.broker.keys import Keys
from aionotify.events.event import EVERYONE
from aionotify.events.group import Ordered
from aionotify.telemetry.sampled import Sampled

_INTERVAL: Final = 0.5  # seconds; one call, of some 20 µs, for each node
_IDLE_INTERVALS: Final = 120  # between two calls while none is refused
_REMEMBERED: Final = 100  # inboxes; where more are refused, it is not for what is in them

_log = logging.getLogger(__name__)


class UnreadableInboxes:
    """What Redis says of each inbox that it does not let us read.

    Attributes:
        problem: which inbox it is and why, or None while all can be read that were asked for.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._reasons: dict[Ordered, str] = {}
        self._sampled = Sampled(_log)

    @property
    def problem(self) -> str | None:
        for of, reason in self._reasons.items():
            more = f" (and {len(self._reasons) - 1} more)" if len(self._reasons) > 1 else ""
            return f"{self._keys.inbox(of)}: {reason}{more}"
        return None

    def add(self, of: Ordered, reason: str) -> None:
        """Take note that an inbox was refused."""
        inbox = self._keys.inbox(of)
        self._sampled.warning("inbox cannot be read", {"inbox": inbox, "reason": reason})
        if len(self._reasons) < _REMEMBERED:
            self._reasons[of] = reason

    def discard(self, of: Ordered) -> None:
        """Take note that an inbox was read."""
        if self._reasons and self._reasons.pop(of, None) is not None:
            fields = {"inbox": self._keys.inbox(of)}
            _log.info("inbox can be read again", extra={"fields": fields})

    async def run(self, read: Callable[[Sequence[Ordered]], Awaitable[Any]]) -> None:
        """Have `read` try everyone's inbox, and those that were refused, until this is cancelled.

        Nobody else may ask for them: who is where they ended knows all that is in them.
        """
        for number in itertools.count():
            await asyncio.sleep(_INTERVAL)
            if self._reasons or number % _IDLE_INTERVALS == 0:
                await read(list({EVERYONE: None, **self._reasons}))
