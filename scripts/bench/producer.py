"""A producer that is measured: publishing through `Publisher`, and with redis-py alone."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import msgspec
from redis.asyncio import Redis

from aionotify import Publisher
from aionotify.broker.connection.scripts import source
from aionotify.broker.keys import Keys
from aionotify.broker.published import Published
from scripts.bench import control
from scripts.bench.pace import message

_RECIPIENTS = 1000
_CALLERS = 256  # who wait at the same time for what they have published
_MANY = 1000  # events in one publish_many
_BATCH = 64  # commands in a pipeline, as in `aionotify.broker.connection.scripts`
_LIMITS = ("100", "604800", "300")  # the defaults of `inbox`


class Cost(msgspec.Struct):
    """Of publishing: `cpu` of this process and `wall`, in seconds."""

    cpu: float
    wall: float


async def publish(url: str, way: str, count: int) -> Cost:
    """Publish `count` events in one of WAYS."""
    events = [(f"user-{i % _RECIPIENTS:06d}", i) for i in range(count)]
    return await WAYS[way](url, events)


async def _one_by_one(url: str, events: list[tuple[str, int]]) -> Cost:
    async with Publisher(url) as publisher:
        waiting = iter(events)

        async def caller() -> None:
            for event in waiting:
                await publisher.publish(message(*event))

        async def all_callers() -> None:
            await asyncio.gather(*(caller() for _ in range(_CALLERS)))

        return await _cost(all_callers)


async def _many(url: str, events: list[tuple[str, int]]) -> Cost:
    async with Publisher(url) as publisher:

        async def in_turn() -> None:
            for start in range(0, len(events), _MANY):
                some = events[start : start + _MANY]
                done = await publisher.publish_many(message(*event) for event in some)
                assert all(isinstance(each, Published) for each in done)

        return await _cost(in_turn)


async def _evalsha(url: str, events: list[tuple[str, int]]) -> Cost:
    keys = Keys("aionotify", "")
    async with Redis.from_url(url, protocol=2) as client:
        sha = await client.script_load(source("append.lua"))

        async def in_batches() -> None:
            for start in range(0, len(events), _BATCH):
                async with client.pipeline(transaction=False) as pipeline:
                    for user, number in events[start : start + _BATCH]:
                        inbox, live = keys.inbox(user), keys.live(user)
                        args = (message(user, number), *_LIMITS, "PUBLISH", 0, 0)
                        pipeline.evalsha(sha, 1, inbox, live, *args)
                    await pipeline.execute()

        return await _cost(in_batches)


async def _two_commands(url: str, events: list[tuple[str, int]]) -> Cost:
    keys = Keys("aionotify", "")
    async with Redis.from_url(url, protocol=2) as client:

        async def in_batches() -> None:
            for start in range(0, len(events), _BATCH):
                async with client.pipeline(transaction=False) as pipeline:
                    for user, number in events[start : start + _BATCH]:
                        event = message(user, number)
                        pipeline.rpush(keys.inbox(user), event)
                        pipeline.publish(keys.live(user), event)
                    await pipeline.execute()

        return await _cost(in_batches)


async def _cost(run: Callable[[], Awaitable[None]]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    await run()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


WAYS: dict[str, Callable[[str, list[tuple[str, int]]], Awaitable[Cost]]] = {
    f"Publisher.publish, {_CALLERS} callers": _one_by_one,
    f"Publisher.publish_many, {_MANY:,} at a time": _many,
    "bare EVALSHA, pipelined": _evalsha,
    "bare RPUSH and PUBLISH, pipelined": _two_commands,
}


if __name__ == "__main__":
    control.run(control.obey(int(sys.argv[1]), {"publish": publish}), "auto")
