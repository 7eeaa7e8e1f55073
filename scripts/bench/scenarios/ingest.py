"""What it costs a node to take events that were added with XADD: as many as there are, at once."""

import asyncio
import time

from scripts.bench.lab import NODE, Lab
from scripts.bench.pace import message
from scripts.bench.results import Result
from scripts.bench.scenarios.publish import redis_cpu
from scripts.bench.server import Usage

_STREAM = "aionotify:publish"
_RECIPIENTS = 1000
_BATCH = 1000  # commands in a pipeline
_LEAST = 20_000  # events a second that a node should take


async def ingest(lab: Lab) -> Result:
    """Take events to 1,000 recipients whom nobody listens for."""
    count = lab.options.published
    result = Result("ingest", f"Taking {count:,} durable events from a Redis stream")
    cpu, redis, rates = [], [], []
    async with lab.processes() as (server, _):
        config = lab.config(publish={"stream": True})
        await server.ask(int, "serve", name=NODE, config=config)
        await _taken(lab)
        for turn in range(lab.options.rounds):
            lab.step(f"round {turn + 1}")
            held = await _hold(lab)
            await _add(lab, count)
            before, in_redis = await server.ask(Usage, "tidy"), await redis_cpu(lab)
            began = time.perf_counter()
            await _release(lab, held)
            await _taken(lab)
            wall = time.perf_counter() - began
            after = await server.ask(Usage, "usage")
            cpu.append((after.cpu - before.cpu) / count * 1e6)
            redis.append((await redis_cpu(lab) - in_redis) / count * 1e6)
            rates.append(count / wall)
    result.add("CPU of the node", cpu, "µs")
    result.add("CPU of Redis", redis, "µs")
    result.add("time for each event", [1e6 / each for each in rates], "µs", limit=1e6 / _LEAST)
    result.add("events", rates, "/s", plotted=False)
    return result
