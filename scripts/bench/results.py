"""What a scenario has found: figures with their spread, and curves."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, several times.

    Attributes:
        samples: one for each round, in `unit`.
        limit: the most that it should be, or None when nobody has asked for anything.
        plotted: whether it has a bar in the plot.
    """

    label: str
    samples: Sequence[float]
    unit: str
    limit: float | None = None
    plotted: bool = True

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def within(self) -> bool:
        return self.limit is None or self.median <= self.limit


@dataclass(frozen=True, slots=True)
class Curve:
    """Latency in seconds at 0, 1, ... 100 percent of the events."""

    label: str
    quantiles: Sequence[float]


@dataclass(slots=True)
class Result:
    """All that a scenario has found."""

    name: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def add(
        self,
        label: str,
        samples: Sequence[float] | float,
        unit: str,
        *,
        limit: float | None = None,
        plotted: bool = True,
    ) -> None:
        if isinstance(samples, int | float):
            samples = [samples]
        self.figures.append(Figure(label, samples, unit, limit, plotted))

    def add_ratio(
        self, label: str, above: Sequence[float], below: Sequence[float], limit: float | None = None
    ) -> None:
        """The ratio of two figures, round by round: what was noisy was so for both."""
        samples = [a / b for a, b in zip(above, below, strict=True)]
        self.figures.append(Figure(label, samples, "x", limit, plotted=False))
