"""Waiting for a condition, never for a time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
PATIENCE = 60  # seconds; a machine whose cores are busy with something else is slow, not wrong


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], timeout: float = PATIENCE, interval: float = 0.02
) -> T: ...
@overload
async def eventually(
    predicate: Callable[[], T], timeout: float = PATIENCE, interval: float = 0.02
) -> T: ...
async def eventually(
    predicate: Callable[[], Any], timeout: float = PATIENCE, interval: float = 0.02
) -> Any:
    """Return what `predicate`, plain or async, returns once that is true.

    An AssertionError from `predicate` counts as "not yet", so it may consist of asserts (and
    return True). Raises AssertionError after `timeout` seconds, with the last thing seen.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        seen: object
        try:
            result = predicate()
            value = await result if inspect.isawaitable(result) else result
        except AssertionError as exc:
            seen = exc
        else:
            if value:
                return value
            seen = value
        if loop.time() > deadline:
            raise AssertionError(f"not within {timeout:g} s; last seen: {seen!r}")
        await asyncio.sleep(interval)
