"""A lease on a real Redis: one has it, and what is stored by it is stored in time or not at all."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from aionotify.broker import lease
from aionotify.broker.lease import Lease, Leaseholder
from tests.broker.executes import on_one_connection
from tests.broker.lua import NOW, SECOND, Scripts
from tests.harness import RedisServer, eventually

KEY = "p:publish:lease"


@pytest.fixture
async def holders(redis_server: RedisServer) -> AsyncIterator[tuple[Leaseholder, Leaseholder]]:
    async with AsyncExitStack() as stack:
        execute = await stack.enter_async_context(on_one_connection(redis_server.port))
        one, other = Leaseholder(execute, KEY), Leaseholder(execute, KEY)
        stack.push_async_callback(one.close)
        stack.push_async_callback(other.close)
        yield one, other


async def test_a_lease_is_one_holders_until_it_gives_it_back(
    holders: tuple[Leaseholder, Leaseholder],
) -> None:
    one, other = holders
    assert await one.take()
    assert await other.take() is None
    await other.give_back()
    assert await other.take() is None
    await one.give_back()
    assert await other.take()
    assert await one.take() is None


async def test_a_lease_is_asked_for_again_only_when_some_of_it_is_over(
    holders: tuple[Leaseholder, Leaseholder],
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And then it lasts longer."""
    one, _ = holders
    first = await one.take()
    assert first is not None
    assert first.ends - first.begins == lease.LENGTH * SECOND
    assert 0 < redis_server.cli("PTTL", KEY) <= lease.LENGTH * 1000
    assert await one.take() == first
    monkeypatch.setattr(lease, "_RENEWED_AFTER", 0.0)
    second = await eventually(one.take)
    assert second is not None
    assert second.begins >= first.begins


async def test_a_lease_that_is_over_is_anybodys(
    holders: tuple[Leaseholder, Leaseholder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = holders
    monkeypatch.setattr(lease, "LENGTH", 0.05)
    first = await one.take()
    second = await eventually(other.take)
    assert first is not None
    assert second is not None
    assert second.begins >= first.ends
    one.forget()
    assert await one.take() is None


async def test_a_lease_that_a_clock_set_back_made_long_is_shortened(
    holders: tuple[Leaseholder, Leaseholder], redis_server: RedisServer
) -> None:
    """Or nobody would take over for an hour."""
    one, other = holders
    await one.take()
    redis_server.cli("PEXPIRE", KEY, 3_600_000)
    assert await other.take() is None
    assert redis_server.cli("PTTL", KEY) <= lease.LENGTH * 1000


@pytest.mark.parametrize(
    ("begins", "ends", "is_stored"),
    [
        (NOW, NOW + SECOND, True),
        (NOW - SECOND, NOW + 1, True),
        (NOW - SECOND, NOW, False),
        (NOW - 2 * SECOND, NOW - SECOND, False),
        (NOW + 1, NOW + SECOND, False),  # the clock was set back
    ],
)
def test_nothing_is_stored_outside_of_the_lease(
    redis_server: RedisServer, begins: int, ends: int, is_stored: bool
) -> None:
    scripts = Scripts(redis_server)
    appended = scripts.try_append("k", lease=Lease(begins, ends))
    assert (appended == "stored") is is_stored
    assert len(scripts.stored()) == is_stored
    if not is_stored:
        assert "lease" in appended
        assert redis_server.cli("KEYS", "*") == []
