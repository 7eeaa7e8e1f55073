"""Redis' clock is set, back and forward, by seconds and by an hour: nobody misses anything."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.inside import InsideNode, data_of
from tests.harness import Clock, RedisServer, SSEClient, eventually


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def redis(tmp_path: Path, clock: Clock) -> Iterator[RedisServer]:
    with RedisServer(tmp_path, clock=clock) as redis:
        yield redis


async def publish(node: InsideNode, user: str, *data: object) -> None:
    for each in data:
        await node.publisher.publish({"recipient_id": user, "data": each})


async def expect(client: SSEClient, *seen: object) -> None:
    with contextlib.suppress(AssertionError):
        await eventually(lambda: len(data_of(client)) >= len(seen), timeout=10)
    assert data_of(client) == list(seen)


@pytest.mark.parametrize("step", [-3600, -5, 5, 3600])
async def test_a_clock_that_is_set_costs_nobody_anything(
    redis: RedisServer, clock: Clock, step: float
) -> None:
    """Not who is there, nor who comes back to an inbox that held something or nothing: now, and
    when the clock is right again.
    """
    async with InsideNode(redis, {}) as node:
        here = await node.open("here")
        with_events, without = await node.open("with"), await node.open("without")
        for user in ("here", "with"):
            await publish(node, user, 1)
        await expect(here, 1)
        await expect(with_events, 1)
        cursors = [await node.leave(client) for client in (with_events, without)]
        clock.step(step)
        for user in ("here", "with", "without"):
            await publish(node, user, 2, 3)
        clock.step(-step)
        back = [
            await node.open(user, last_event_id=cursor)
            for user, cursor in zip(("with", "without"), cursors, strict=True)
        ]
        for user in ("here", "with", "without"):
            await publish(node, user, 4)
        await expect(here, 1, 2, 3, 4)
        for client in back:
            await expect(client, 2, 3, 4)


async def test_an_inbox_that_has_expired_gives_no_position_twice(
    redis: RedisServer, clock: Clock
) -> None:
    """Its clock is set back to before its last event, and there is nothing to go on from."""
    async with InsideNode(redis, {"retention": 5}) as node:
        client = await node.open()
        await publish(node, "u", 1)
        await expect(client, 1)
        cursor = await node.leave(client)
        floor = node.services.data_set.floor
        clock.step(60)
        await eventually(lambda: not redis.cli("EXISTS", "aionotify:{u}:inbox"))
        await eventually(lambda: node.services.data_set.floor > floor + 50_000_000)
        clock.step(-120)
        await publish(node, "u", 2)
        again = await node.open(last_event_id=cursor)
        await publish(node, "u", 3)
        await expect(again, "gap: trimmed", 2, 3)


async def test_a_node_that_starts_with_a_redis_whose_clock_was_set_back_misses_nothing(
    redis: RedisServer, clock: Clock
) -> None:
    """It learns the latest time from Redis, and not from its clock."""
    clock.step(3600)
    async with InsideNode(redis, {}) as first:
        client = await first.open()
        cursor = await first.leave(client)
    clock.step(-3600)
    async with InsideNode(redis, {}) as second:
        await publish(second, "u", 1)
        again = await second.open(last_event_id=cursor)
        await publish(second, "u", 2)
        await expect(again, 1, 2)
