"""When something is due about each of many streams: a moment for each, the soonest first.

Knows no clock: moments are numbers, and whoever asks says which time it is.
"""

import heapq
from typing import Final

_SPARE: Final = (
    32  # moments that count no more may lie here, beside as many as there are that count
)


class Schedule:
    """Moments, at most one for each number."""

    def __init__(self) -> None:
        self._moments: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []  # all of them, and some that count no more

    def __len__(self) -> int:
        return len(self._moments)

    def put(self, number: int, moment: float) -> None:
        """Have something due about `number` at `moment`, and not when it was before."""
        if self._moments.get(number) != moment:
            self._moments[number] = moment
            heapq.heappush(self._heap, (moment, number))
            self._tidy()

    def discard(self, number: int) -> None:
        """Have nothing due about `number`."""
        if self._moments.pop(number, None) is not None:
            self._tidy()

    def items(self) -> list[tuple[int, float]]:
        """Return all numbers with their moments."""
        return list(self._moments.items())

    def soonest(self) -> float | None:
        """Return the first of all moments; None when there is none."""
        while self._heap:
            moment, number = self._heap[0]
            if self._moments.get(number) == moment:
                return moment
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> int | None:
        """Return the number that was due first, which then is due no more; None if none is yet."""
        soonest = self.soonest()
        if soonest is None or soonest > now:
            return None
        _, number = heapq.heappop(self._heap)
        del self._moments[number]
        return number

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._moments) + _SPARE:
            self._heap = [(moment, number) for number, moment in self._moments.items()]
            heapq.heapify(self._heap)
