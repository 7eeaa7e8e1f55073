"""A dict of bounded size that forgets what was not used for the longest time."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `size` entries; adding one more drops the least recently used.

    Knows no time: a value that ages carries its own age.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return what is kept under `key`, which counts as a use."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> V | None:
        """Keep `value` under `key`; return the one that was dropped for it."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            return self._entries.popitem(last=False)[1]
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def drop(self, key: K) -> None:
        """Forget `key`, if it is there."""
        self._entries.pop(key, None)
