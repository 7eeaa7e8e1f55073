"""How many bytes the publish requests that are under way hold, and when that is too many.

A request holds its body, or what was decoded of it, and for each recipient what is answered. Knows
neither events nor Redis.
"""

import contextlib
from collections.abc import Iterator
from typing import Self

from aionotify.errors import PublishOverloaded


class PublishBytes:
    """The bytes that all publish requests of this process hold.

    Args:
        limit: bytes beyond which requests are refused, `admin.max_publish_bytes`.

    Attributes:
        held: bytes now.
    """

    def __init__(self, limit: int) -> None:
        self.held = 0
        self._limit = limit

    def adopt(self, other: "PublishBytes") -> None:
        """Refuse beyond the limit of `other`; what is held already stays."""
        self._limit = other._limit

    def request(self) -> "HeldBytes":
        """Return what a new request holds: nothing yet."""
        return HeldBytes(self)

    def take(self, count: int, own: int) -> None:
        """Hold `count` more for a request that holds `own`.

        One request alone may hold as much as its other limits allow, or it would be refused for
        ever. Raises PublishOverloaded.
        """
        if self.held > own and self.held + count > self._limit:
            raise PublishOverloaded("too many bytes are being published at the same time")
        self.held += count


class HeldBytes:
    """What one request holds, until the block in which it is used ends."""

    def __init__(self, all_: PublishBytes) -> None:
        self._all = all_
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._all.held -= self._count

    def add(self, count: int) -> None:
        """Hold `count` bytes more; raises PublishOverloaded."""
        self._all.take(count, self._count)
        self._count += count

    @contextlib.contextmanager
    def also(self, count: int) -> Iterator[None]:
        """Hold `count` bytes more while a block is carried out; raises PublishOverloaded."""
        self.add(count)
        try:
            yield
        finally:
            self._all.held -= count
            self._count -= count
