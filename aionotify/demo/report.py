"""What the check has seen, beside what it has to see."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from aionotify.demo.ways import Way

AUDIENCE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "alice": ("alice",),
        "bob": ("bob",),
        "both": ("alice", "bob"),
        "everyone": ("alice", "bob"),
    }
)
"""Whose streams an event to each of these has to reach."""

MISSED: Final = ("missed 1", "missed 2", "missed 3")
"""What is published while a stream is cut, in this order."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event as it came in over one user's stream.

    Attributes:
        user: whose stream it was.
        way: the name of the way it was published in.
        to: whom it was for.
        named: the recipient that it names.
        durable: whether it moved the cursor.
    """

    user: str
    way: str
    to: str
    named: str
    durable: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one event."""

    way: Way
    to: str
    arrivals: Sequence[Arrival]

    @property
    def expected(self) -> list[Arrival]:
        """What has to be in `arrivals`, each once. A list shows no receiver the others."""
        return [
            Arrival(
                user,
                self.way.name,
                self.to,
                "*" if self.to == "everyone" else user,
                self.way.durable,
            )
            for user in AUDIENCE[self.to]
        ]

    @property
    def users(self) -> list[str]:
        """Whose streams got it."""
        return [arrival.user for arrival in self.arrivals]

    @property
    def ok(self) -> bool:
        """Whether exactly the right streams got it, once, and as what it is."""
        return self.arrivals == self.expected


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the check has seen.

    Attributes:
        resumed: what came when the stream that was cut was opened again, in order.
        failures: what did not work at all.
    """

    deliveries: Sequence[Delivery]
    resumed: Sequence[str]
    failures: Sequence[str]

    @property
    def resume_ok(self) -> bool:
        """Whether what was missed came: all of it, once, in order, and nothing else."""
        return tuple(self.resumed) == MISSED

    @property
    def problems(self) -> list[str]:
        """What is not as it has to be, a line each."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        yield from self.failures
        for each in self.deliveries:
            if not each.ok:
                seen, expected = _told(each.arrivals), _told(each.expected)
                yield f"{each.way.name}, to {each.to}: expected {expected}; came: {seen}"
        if not self.resume_ok:
            came = ", ".join(self.resumed) or "nothing"
            yield f"after a cut: expected {', '.join(MISSED)}; came: {came}"


def _told(arrivals: Sequence[Arrival]) -> str:
    return (
        ", ".join(
            f"{each.user} ({'durable' if each.durable else 'ephemeral'}, names {each.named})"
            for each in arrivals
        )
        or "nothing"
    )
