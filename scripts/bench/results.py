"""What a scenario has found: figures with their spread."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, several times.

    Attributes:
        samples: one for each round, in `unit`.
        limit: the most that it should be, or None when nobody has asked for anything.
    """

    label: str
    samples: Sequence[float]
    unit: str
    limit: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def within(self) -> bool:
        return self.limit is None or self.median <= self.limit


@dataclass(slots=True)
class Result:
    """All that a scenario has found."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)

    def add(
        self,
        label: str,
        samples: Sequence[float] | float,
        unit: str,
        *,
        limit: float | None = None,
    ) -> None:
        if isinstance(samples, int | float):
            samples = [samples]
        self.figures.append(Figure(label, samples, unit, limit))

    def add_ratio(
        self, label: str, above: Sequence[float], below: Sequence[float], limit: float | None = None
    ) -> None:
        """The ratio of two figures, round by round: what was noisy was so for both."""
        samples = [a / b for a, b in zip(above, below, strict=True)]
        self.figures.append(Figure(label, samples, "x", limit))
