"""What is known of tokens moves with their streams from a node that leaves to the others.

Knows what was said by whom and when, and neither Redis nor the main host.
"""

import time
from collections.abc import Callable, Iterable

from aionotify.auth.handed_over import HandedOver, Moved
from aionotify.auth.handing_over import HandingOver, Tell, Vouch
from aionotify.auth.revocations import Revocations
from aionotify.auth.vouched import decode


class Moving:
    """Both ends of it: what this node says when it leaves, and what it has heard from others.

    Args:
        tell: sends to all nodes; None if there are no others.
        forgotten: takes note of revocations as they are heard.
        longest: seconds for which an answer of the main host may be relied upon.
        clock: seconds.

    Attributes:
        unsure: `Revocations.now` up to which revocations may have been missed, since others were
            not heard. What was learned before that is nothing to vouch for.
    """

    def __init__(
        self,
        tell: Tell | None,
        forgotten: Revocations,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unsure = 0
        self._forgotten = forgotten
        self._handing_over = HandingOver(tell) if tell is not None else None
        self._handed_over = HandedOver(longest, clock)

    def adopt(self, other: "Moving") -> None:
        """Rely on answers for as long as `other` does."""
        self._handed_over.adopt(other._handed_over)

    # --- what is heard of others ----------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """Take note of a message; raise InvalidEvent for what is none."""
        message = decode(data)
        if self._handing_over is None or not self._handing_over.hear(message):
            self._handed_over.take(message, self._forgotten.now)

    @property
    def now(self) -> int:
        """What `read` wants, from before it is asked for what there is to read."""
        return self._forgotten.now

    def read(self, data: bytes, age: float, now: int) -> None:
        """Take note of a message that was kept for `age` seconds; raise InvalidEvent for none."""
        self._handed_over.take(decode(data), now, age)

    def unheard(self) -> None:
        """Others are not heard any more, and neither is who they say is revoked."""
        self._handed_over.clear()

    def heard(self) -> None:
        """From here on they are heard."""
        self._handed_over.clear()  # of what was read meanwhile
        self.unsure = self._forgotten.mark()

    def find(self, token: str) -> Moved | None:
        """Return what another node knew of `token`, unless its user was revoked since."""
        moved = self._handed_over.find(token)
        if moved is None or self._forgotten.since(moved.learned, moved.user_id):
            return None
        return moved

    def void(self, token: str) -> None:
        """Forget what others have said of `token`."""
        self._handed_over.void(token)

    # --- what others hear -----------------------------------------------------------------------

    async def say(self, tokens: Iterable[str], vouch: Vouch, hold: float) -> int:
        """See `HandingOver.say`."""
        return (
            0 if self._handing_over is None else await self._handing_over.say(tokens, vouch, hold)
        )
