"""What was published, and whether each stream got it: every event, once, in order.

The events of a recipient, or a group, are numbered from 0. A number is published until it is known
to be stored, before the next one is begun, so the inbox has each number once and in order, and that
is how every stream has to see them. Knows nothing of how events travel.

While Redis may lose what it has acknowledged, or two take themselves for the master, that is
judged later, by what is left (`Track.judge`). What is in an inbox in the end has to have been seen,
or told as a gap. What is not was lost: that has to be told to each whose node, or cursor, knew of
it. And who comes from what was lost, or to it, may see numbers again, and what was published
elsewhere meanwhile, but only after a gap.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EVERYONE = "*"
_LATE = 0.1  # seconds by which it may be seen late here what a node knew
Kept = Mapping[str, Mapping[int, int]]
"""Of each recipient, the numbers of the events that are in its inbox, and their positions."""


class Ledger:
    """How far publishing has come, for each recipient.

    Attributes:
        begun: how many events there have been attempts to publish.
        stored: how many are known to be stored.
        loses: whether Redis may lose just now what it has acknowledged.
        known: which nodes knew of an event, and when; while it may be lost.
        reverts: whether a master that was replaced may have become the master again since, as when
            the Sentinel gives a failover up. Who was with the other one meanwhile was told that
            events are gone which are there.
        takes_again: whether a Redis that falls back to an older state has events to be taken again:
            then they may come after later ones, but only after a gap.
    """

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()
        self.loses = self.takes_again = self.reverts = False
        self._judged: Counter[str] = Counter()
        self.known: defaultdict[tuple[str, int], list[tuple[str, float]]] = defaultdict(list)

    def begin(self, recipient: str) -> int:
        """The number of the recipient's next event."""
        number = self.begun[recipient]
        self.begun[recipient] += 1
        return number

    def knows(self, node: str, recipient: str, number: int) -> None:
        """A node has an event: it was published there, or it has written it to somebody."""
        if self.loses:
            self.known[recipient, number].append((node, time.monotonic()))

    def lost(self, kept: Kept) -> dict[str, int]:
        """How many events were stored since the last judgement and are gone, of those concerned."""
        found = {}
        for recipient, numbers in kept.items():
            since = range(self._judged[recipient], self.stored[recipient])
            if count := sum(number not in numbers for number in since):
                found[recipient] = count
        return found

    def first_judged(self, recipient: str) -> int:
        """The number of the first event that is judged next."""
        return max(0, self._judged[recipient] - 1)

    def judged(self) -> None:
        """From now on nothing is lost."""
        self.loses = False
        self.known.clear()
        self._judged = self.stored.copy()


@dataclass(frozen=True, slots=True)
class _Hole:
    """Events that were not seen, of which nothing had been told."""

    recipient: str
    first: int
    last: int
    gaps: int  # that were told until then
    node: str
    since: float  # connected


@dataclass(frozen=True, slots=True)
class _Return:
    """An event that came after later ones, or again."""

    recipient: str
    number: int
    position: int
    told: bool
    moved: bool  # whether the later ones came from another node
    seen: Mapping[int, int]  # the later ones, and where they were, the latest last


class Track:
    """What one client saw, over all its connections; holds it against the ledger.

    Attributes:
        seen: events in all.
        gaps: `aionotify.gap` by reason.
        missing: events that were not seen and whose loss was told.
        unknowable: events that were lost and of which neither it nor its node could know.
        violations: what should never be, in words.
        pause: seconds between two events, at most, since `watch` was called.
    """

    def __init__(self, ledger: Ledger, user: str, groups: Sequence[str] = ()) -> None:
        self.user = user
        self._own = (user, EVERYONE, *groups)
        self.seen = 0
        self.gaps: Counter[str] = Counter()
        self.missing = 0
        self.unknowable = 0
        self.violations: list[str] = []
        self.pause = 0.0
        self._seen_at = time.monotonic()
        self._ledger = ledger
        self._next: dict[str, int] = {}
        self._latest_first: dict[str, int] = {}
        self._told: set[str] = set()
        self._gaps_at: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._all_gaps = 0
        self._gap_at = 0.0
        self._node, self._since = "", 0.0
        self._came_from: dict[str, str] = {}
        self._positions: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._returned = False
        self._doubts: list[_Hole | _Return] = []

    def opened(self) -> None:
        """A client that has seen nothing has an answer: what is begun from now on, it must see."""
        begun = self._ledger.begun
        self._latest_first = {id: begun[id] for id in self._own}

    def connected(self, node: str) -> None:
        """The client has a stream there from now on."""
        self._node, self._since = node, time.monotonic()

    def gap(self, reason: str) -> None:
        """The client was told that events are missing."""
        self.gaps[reason] += 1
        self._all_gaps += 1
        self._gap_at = time.monotonic()
        self._told = set(self._own)

    def event(self, recipient: str, number: int, position: int = 0) -> None:
        """The client got an event of `recipient`."""
        self.seen += 1
        self._pause_ends()
        if recipient not in self._own:
            self._violate(f"event {number} of {recipient}, who is somebody else")
        else:
            self._take(recipient, number, position)
            self._gaps_at[recipient][number] = self._all_gaps
            self._came_from[recipient] = self._node
            self._positions[recipient].pop(number, None)
            self._positions[recipient][number] = position

    def watch(self) -> None:
        """Measure anew for how long nothing comes."""
        self._pause_ends()
        self.pause = 0.0

    def complete(self) -> bool:
        """Whether the client is where its inboxes end."""
        return all(
            self._next.get(id) == self._ledger.begun[id]
            for id in self._own
            if self._ledger.begun[id]
        )

    def lacks(self) -> str:
        """Where the client is, and where it should be."""
        return ", ".join(
            f"{id}: at {self._next.get(id)} of {self._ledger.begun[id]}" for id in self._own
        )

    def judge(self, kept: Kept) -> None:
        """Clear up, at a moment of rest, what could not be judged before."""
        doubts, self._doubts = self._doubts, []
        for doubt in doubts:
            if isinstance(doubt, _Hole):
                self._judge_hole(doubt, kept[doubt.recipient])
            else:
                self._judge_return(doubt, kept[doubt.recipient])

    def forget(self) -> None:
        """What was seen until now is not in doubt any more, but for the last of it."""
        for id, seen in self._positions.items():
            self._positions[id] = dict(list(seen.items())[-5:])
        self._returned = False

    def has_lost(self, kept: Kept) -> bool:
        """Whether it has seen an event that is not where it was any more."""
        return self._returned or any(
            kept[recipient].get(number) != position
            for recipient, seen in self._positions.items()
            for number, position in seen.items()
            if number >= self._ledger.first_judged(recipient)
        )

    def _pause_ends(self) -> None:
        now = time.monotonic()
        self.pause = max(self.pause, now - self._seen_at)
        self._seen_at = now

    def _judge_hole(self, hole: _Hole, kept: Mapping[int, int]) -> None:
        seen = self._positions[hole.recipient]  # those that were lost since
        numbers = [number for number in range(hole.first, hole.last + 1) if number not in seen]
        if self._all_gaps > hole.gaps:  # told when its node found out
            self.missing += len(numbers)
            return
        for number in numbers:
            known = self._ledger.known[hole.recipient, number]
            if number in kept:
                self._violate(f"event {number} of {hole.recipient} is missing")
            elif any(
                # Of two masters one may have lost what was published between events of the other,
                # where it gives out earlier positions: what is told then is told before these.
                node == hole.node and at >= hole.since and at - _LATE > self._gap_at
                for node, at in known
            ):
                self._violate(
                    f"event {number} of {hole.recipient} was lost, which {hole.node} knew: untold"
                )
            else:
                self.unknowable += 1

    def _judge_return(self, doubt: _Return, kept: Mapping[int, int]) -> None:
        last, position = list(doubt.seen.items())[-1]
        is_there = kept.get(last) == position and kept.get(doubt.number) == doubt.position
        # A node that is still with the old master knows nothing of what another one gave out.
        of_one_master = is_there and not doubt.moved and not self._ledger.reverts
        if of_one_master or not doubt.told:
            self._violate(
                f"event {doubt.number} of {doubt.recipient} again, after {last},"
                f" of one master{'' if doubt.told else ', and no gap was told'}"
            )

    def _take(self, recipient: str, number: int, position: int) -> None:
        expected = self._next.get(recipient)
        told = recipient in self._told
        self._told.discard(recipient)
        if expected is None:
            first = self._latest_first[recipient]
            if number > first and not told:
                self._miss(
                    recipient, first, number, f"began {recipient} at {number}, connected at {first}"
                )
        elif number < expected:
            if not self._ledger.loses:
                self._violate(f"event {number} of {recipient} again, after {expected - 1}")
                return
            positions = self._positions[recipient]
            seen = {each: at for each, at in positions.items() if each >= number}
            if self._ledger.takes_again:
                told = told or self._all_gaps > self._gaps_at[recipient].get(number, 0)
            self._doubts.append(
                _Return(
                    recipient,
                    number,
                    position,
                    told,
                    self._came_from.get(recipient) != self._node,
                    seen or {expected - 1: -1},
                )
            )
            self._returned = True
        elif number > expected:
            if told:
                self.missing += number - expected
            else:
                self._miss(
                    recipient,
                    expected,
                    number,
                    f"events {expected} to {number - 1} of {recipient} are missing",
                )
        self._next[recipient] = number + 1

    def _miss(self, recipient: str, expected: int, number: int, text: str) -> None:
        if self._ledger.loses:
            self._doubts.append(
                _Hole(recipient, expected, number - 1, self._all_gaps, self._node, self._since)
            )
        else:
            self._violate(text)
            self.missing += number - expected

    def _violate(self, what: str) -> None:
        self.violations.append(f"{self.user}: {what}")
