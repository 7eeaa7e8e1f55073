"""What was published, and whether each stream got it: every event, once, in order.

The events of a recipient are numbered from 0. A number is published until it is known to be
stored, before the next one is begun, so the inbox has each number once and in order, and that is
how every stream has to see them. Knows nothing of how events travel.
"""

from collections import Counter

EVERYONE = "*"


class Ledger:
    """How far publishing has come, for each recipient.

    Attributes:
        begun: how many events there have been attempts to publish.
        stored: how many are known to be stored.
    """

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()

    def begin(self, recipient: str) -> int:
        """The number of the recipient's next event."""
        number = self.begun[recipient]
        self.begun[recipient] += 1
        return number


class Track:
    """What one client saw, over all its connections; holds it against the ledger.

    Attributes:
        seen: events in all.
        gaps: `aionotify.gap` by reason.
        missing: events that were not seen and whose loss was told.
        violations: what should never be, in words.
    """

    def __init__(self, ledger: Ledger, user: str) -> None:
        self.user = user
        self.seen = 0
        self.gaps: Counter[str] = Counter()
        self.missing = 0
        self.violations: list[str] = []
        self._ledger = ledger
        self._next: dict[str, int] = {}
        self._latest_first: dict[str, int] = {}
        self._told: set[str] = set()

    def opened(self) -> None:
        """A client that has seen nothing has an answer: what is begun from now on, it must see."""
        begun = self._ledger.begun
        self._latest_first = {id: begun[id] for id in (self.user, EVERYONE)}

    def gap(self, reason: str) -> None:
        """The client was told that events are missing."""
        self.gaps[reason] += 1
        self._told = {self.user, EVERYONE}

    def event(self, recipient: str, number: int) -> None:
        """The client got an event of `recipient`."""
        self.seen += 1
        if recipient not in (self.user, EVERYONE):
            self._violate(f"event {number} of {recipient}, who is somebody else")
        else:
            self._take(recipient, number)

    def complete(self) -> bool:
        """Whether the client is where its inboxes end."""
        return all(
            self._next.get(id) == self._ledger.begun[id]
            for id in (self.user, EVERYONE)
            if self._ledger.begun[id]
        )

    def lacks(self) -> str:
        """Where the client is, and where it should be."""
        return ", ".join(
            f"{id}: at {self._next.get(id)} of {self._ledger.begun[id]}"
            for id in (self.user, EVERYONE)
        )

    def _take(self, recipient: str, number: int) -> None:
        expected = self._next.get(recipient)
        told = recipient in self._told
        self._told.discard(recipient)
        if expected is None:
            if number > self._latest_first[recipient] and not told:
                self._violate(
                    f"began {recipient} at {number}, connected at {self._latest_first[recipient]}"
                )
        elif number < expected:
            self._violate(f"event {number} of {recipient} again, after {expected - 1}")
            return
        elif number > expected:
            if not told:
                self._violate(f"events {expected} to {number - 1} of {recipient} are missing")
            self.missing += number - expected
        self._next[recipient] = number + 1

    def _violate(self, what: str) -> None:
        self.violations.append(f"{self.user}: {what}")
