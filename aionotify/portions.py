"""Many things, parted so that not too much is under way at a time."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(
    items: Iterable[T], count: int, size: Callable[[T], int] = lambda item: 1, most: int = 0
) -> Iterator[list[T]]:
    """Part items, in their order. A single item may be larger than a portion.

    Args:
        count: items in a portion, at most.
        size: of an item.
        most: of the sizes in a portion together; 0 for no limit.
    """
    portion: list[T] = []
    free = most
    for item in items:
        taken = size(item) if most else 0
        if portion and (len(portion) == count or taken > free):
            yield portion
            portion, free = [], most
        portion.append(item)
        free -= taken
    if portion:
        yield portion
