"""What it costs a node to take events that were added with XADD, as fast as it can."""

import asyncio
import time

from scripts.bench.lab import NODE, Lab
from scripts.bench.pace import message
from scripts.bench.results import Result
from scripts.bench.server import Usage

_STREAM = "aionotify:publish"
_ADDED = "added"  # the stream's name until it is taken
_RECIPIENTS = 1000
_BATCH = 1000  # commands in a pipeline
_LEAST = 20_000  # events a second


async def ingest(lab: Lab) -> Result:
    """Take events to 1,000 recipients whom nobody listens for."""
    count = lab.options.published
    result = Result("ingest", f"Taking {count:,} durable events from a Redis stream")
    cpu, in_redis, times = [], [], []
    async with lab.processes() as (server, _):
        config = lab.config(publish={"stream": True})
        await server.ask(int, "serve", name=NODE, config=config)
        for turn in range(lab.options.rounds):
            lab.step(f"round {turn + 1}")
            await _add(lab, count)
            before, redis_before = await server.ask(Usage, "tidy"), await lab.redis_cpu()
            began = time.perf_counter()
            await lab.redis.rename(_ADDED, _STREAM)
            while await lab.redis.xlen(_STREAM):  # noqa: ASYNC110 - Redis cannot tell us
                await asyncio.sleep(0.01)
            times.append((time.perf_counter() - began) / count * 1e6)
            after = await server.ask(Usage, "usage")
            cpu.append((after.cpu - before.cpu) / count * 1e6)
            in_redis.append((await lab.redis_cpu() - redis_before) / count * 1e6)
    result.add("CPU of the node", cpu, "µs")
    result.add("CPU of Redis", in_redis, "µs")
    result.add("time", times, "µs", limit=1e6 / _LEAST)
    result.add("events", [1e6 / each for each in times], "/s")
    return result


async def _add(lab: Lab, count: int) -> None:
    for start in range(0, count, _BATCH):
        async with lab.redis.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + _BATCH, count)):
                event = message(f"user-{number % _RECIPIENTS:06d}", number)
                pipeline.execute_command("XADD", _ADDED, "*", "event", event)
            await pipeline.execute()
