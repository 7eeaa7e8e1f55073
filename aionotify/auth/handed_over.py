"""What nodes that left have said about tokens whose streams come here now."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aionotify.auth.vouched import Message, name, unseal

MAX_RECORDS: Final = 100_000  # about 40 MB; whoever is not among them is asked about
MAX_SOURCES: Final = 64  # nodes that leave at about the same time
_MARKS: Final = 256  # messages between one and the next that its source has heard of


class Moved(NamedTuple):
    """A token that another node has known. All times are in seconds of our clock.

    Attributes:
        user_id: whose it is.
        learned: what of revocations that node had heard of, as `Revocations.now` counts them here.
        answered: when the main host named the user.
        due: when it was to be asked again there.
        latest: when it has to be asked again, wherever that is.
        until: when the token expires, infinite when that is not known.
    """

    user_id: str
    learned: int
    answered: float
    due: float
    latest: float
    until: float


class _Entry(NamedTuple):
    sealed: bytes
    number: int
    learned: int
    written: float
    until: float


@dataclass(slots=True)
class _Source:
    until: float = 0.0
    marks: dict[int, int] = field(default_factory=dict)  # by message, `learned` when it was heard
    entries: dict[bytes, _Entry] = field(default_factory=dict)


class HandedOver:
    """Records of other nodes, to be found by who shows the token.

    What is sealed in a record is not known before that, so a record is good for as long as its
    message says, but at most `longest` seconds. So is what it says: after that time the main host
    is asked, whoever says what. `clock` is in seconds.
    """

    def __init__(self, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._longest = longest
        self._clock = clock
        self._sources: dict[bytes, _Source] = {}

    def __len__(self) -> int:
        return sum(len(source.entries) for source in self._sources.values())

    def adopt(self, other: "HandedOver") -> None:
        """Remember for as long as `other` does, from the next message on."""
        self._longest = other._longest

    def take(self, message: Message, now: int, age: float = 0.0) -> None:
        """Remember the records of `message`, which was written `age` seconds ago.

        `now` is `Revocations.now`. What its source may not have heard of when it wrote them is what
        came after the last of its messages that it had heard back. If we have not heard that one,
        we cannot tell, and the records do not count.
        """
        self._clean_up()
        source = self._sources.setdefault(message.source, _Source())
        written = self._clock() - age
        source.until = max(source.until, written + min(message.hold, self._longest))
        learned = source.marks.get(message.heard)
        source.marks.setdefault(message.number, now)
        if len(source.marks) > _MARKS:
            del source.marks[next(iter(source.marks))]
        if learned is not None:
            self._put(source, message, learned, written)

    def find(self, token: str) -> Moved | None:
        """Return what is known of `token`, by the last node that has spoken of it."""
        self._clean_up()
        found = [
            (entry, source)
            for source, said in self._sources.items()
            if (entry := said.entries.get(name(token, source))) and self._clock() < entry.until
        ]
        if not found:
            return None
        entry, source = max(found, key=lambda each: each[0].written)
        return self._open(entry, token, source)

    def void(self, token: str) -> None:
        """Forget what is known of `token`."""
        for source, said in self._sources.items():
            said.entries.pop(name(token, source), None)

    def clear(self) -> None:
        """Forget everything."""
        self._sources.clear()

    def _put(self, source: _Source, message: Message, learned: int, written: float) -> None:
        until = written + min(message.hold, self._longest)
        room = MAX_RECORDS - len(self)
        for each in message.records[:room]:
            entry = _Entry(each.sealed, message.number, learned, written, until)
            source.entries[each.name] = entry

    def _open(self, entry: _Entry, token: str, source: bytes) -> Moved | None:
        vouched = unseal(entry.sealed, token, source, entry.number)
        # Whoever has written it: an answer from the future would never be too old.
        if vouched is None or not (vouched.age >= 0 and vouched.due > 0 and vouched.lifetime > 0):
            return None
        answered = entry.written - vouched.age
        return Moved(
            vouched.user_id,
            entry.learned,
            answered,
            entry.written + vouched.due,
            answered + self._longest,
            entry.written + vouched.lifetime,
        )

    def _clean_up(self) -> None:
        now = self._clock()
        for source, said in list(self._sources.items()):
            if said.until <= now:
                del self._sources[source]
        while len(self._sources) > MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
