"""How long many may wait, each for something of its own, with one timer for all of them.

`asyncio.timeout` sets a timer for each; when thousands of streams open at once, that is a good part
of what each of them costs.
"""

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlines:
    """Gives up what was waited for for `seconds`, or up to a tenth longer."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[asyncio.Future[Any], float] = {}  # and since when
        self._timer: asyncio.TimerHandle | None = None

    def bound(self, future: asyncio.Future[T], since: float) -> asyncio.Future[T]:
        """Have `future`, which nobody else waits for, raise TimeoutError when it takes too long.

        Args:
            since: when waiting began, perhaps for something else before, on the loop's clock.
        """
        self._waiting[future] = since
        if self._timer is None:
            self._look_later()
        return future

    def _look(self) -> None:
        self._timer = None
        late = asyncio.get_running_loop().time() - self._seconds
        self._waiting = {each: since for each, since in self._waiting.items() if not each.done()}
        for future, since in self._waiting.items():
            if since <= late:
                future.set_exception(TimeoutError("waited for too long"))
        if self._waiting:
            self._look_later()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds / 10, self._look)
