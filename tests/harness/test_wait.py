"""Waiting for a condition ends with it, or says what was there instead."""

import pytest

from tests.harness import eventually


async def test_eventually_returns_the_first_true_value() -> None:
    """Plain and asynchronous conditions both work."""
    values = iter([0, "", "there"])
    assert await eventually(lambda: next(values), interval=0) == "there"

    async def condition() -> int:
        return 7

    assert await eventually(condition) == 7


async def test_a_failing_assert_is_not_yet() -> None:
    """A condition may be made of asserts."""
    seen: list[int] = []

    def condition() -> bool:
        seen.append(1)
        assert len(seen) == 3
        return True

    assert await eventually(condition, interval=0)


async def test_eventually_gives_up_with_the_last_thing_seen() -> None:
    """The error tells what the condition was at the end."""
    with pytest.raises(AssertionError, match=r"not within 0.05 s; last seen: \[\]"):
        await eventually(list, timeout=0.05)
