"""The result of the check: what arrived, and what was expected."""

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
"""The users that an event to each of these must reach."""

MISSED: Final = ("missed 1", "missed 2", "missed 3")
"""What is published while a stream is closed, in this order."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event that arrived on a user's stream.

    Attributes:
        user: the user of the stream.
        way: the name of the way it was published.
        to: its target, a key of `AUDIENCE`.
        named: the recipient in the event.
        durable: whether it moved the cursor.
    """

    user: str
    way: str
    to: str
    named: str
    durable: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where one event arrived."""

    way: Way
    to: str
    arrivals: Sequence[Arrival]

    @property
    def expected(self) -> list[Arrival]:
        """What `arrivals` must contain. Each receiver of a list sees only itself."""
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
        """The users whose streams got it."""
        return [arrival.user for arrival in self.arrivals]

    @property
    def ok(self) -> bool:
        """Whether exactly the right streams got it, once, and unchanged."""
        return self.arrivals == self.expected


@dataclass(frozen=True, slots=True)
class Report:
    """The result of the check.

    Attributes:
        resumed: what arrived after the closed stream was opened again, in order.
        failures: steps that did not work at all.
    """

    deliveries: Sequence[Delivery]
    resumed: Sequence[str]
    failures: Sequence[str]

    @property
    def resume_ok(self) -> bool:
        """Whether all missed events arrived, once, in order, and nothing else."""
        return tuple(self.resumed) == MISSED

    @property
    def problems(self) -> list[str]:
        """The problems, one line each."""
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        yield from self.failures
        for each in self.deliveries:
            if not each.ok:
                seen, expected = _told(each.arrivals), _told(each.expected)
                yield f"{each.way.name}, to {each.to}: expected {expected}; got: {seen}"
        if not self.resume_ok:
            came = ", ".join(self.resumed) or "nothing"
            yield f"after a disconnect: expected {', '.join(MISSED)}; got: {came}"


def _told(arrivals: Sequence[Arrival]) -> str:
    return (
        ", ".join(
            f"{each.user} ({'durable' if each.durable else 'ephemeral'}, names {each.named})"
            for each in arrivals
        )
        or "nothing"
    )
