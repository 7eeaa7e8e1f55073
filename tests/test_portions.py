"""What is parted: everything, in its order, and no more at a time than may be."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from aionotify.portions import portions


@given(st.lists(st.integers(0, 20)), st.integers(1, 5), st.integers(1, 30))
def test_portions_are_all_items_in_their_order_and_none_is_too_large(
    items: list[int], count: int, most: int
) -> None:
    """Unless it is of one item; and none could have taken the first item of the next one."""
    found = list(portions(items, count, lambda item: item, most))
    assert [item for portion in found for item in portion] == items
    for portion in found:
        assert 1 <= len(portion) <= count
        assert len(portion) == 1 or sum(portion) <= most
    for portion, following in itertools.pairwise(found):
        assert len(portion) == count or sum(portion) + following[0] > most


def test_without_a_limit_of_sizes_only_the_number_counts() -> None:
    assert list(portions(iter("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(portions([], 2)) == []
