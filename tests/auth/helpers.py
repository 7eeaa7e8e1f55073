"""Requests, a clock and a way to wait, for the tests of authentication."""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aionotify.auth.revocations import Revocations


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def make_request(*headers: tuple[str, str], path: str = "/notify") -> web.Request:
    return make_mocked_request("GET", path, headers=CIMultiDict(headers))


def bearer(token: str) -> web.Request:
    return make_request(("Authorization", f"Bearer {token}"))


def revoke(revocations: Revocations, user_id: str) -> None:
    """Have somebody's streams closed, as all nodes hear it."""
    revocations.number += 1
    revocations.add(user_id, revocations.number)


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        await asyncio.sleep(0.002)
