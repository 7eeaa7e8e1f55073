"""What a stream costs that has nothing to say."""

import asyncio

from scripts.bench.control import Child
from scripts.bench.lab import NODE, REQUEST, Lab
from scripts.bench.load import Load
from scripts.bench.results import Result
from scripts.bench.server import Usage

_WARM = 20  # streams opened and closed first: what is loaded once is not a stream's
_SETTLED = 1.0  # seconds
_BEATS = 15.0  # seconds, the heartbeat interval


async def idle(lab: Lab) -> Result:
    """Memory of idle streams, beside those of a bare aiohttp-sse handler; CPU of heartbeats."""
    result = Result("idle", "Idle streams")
    count = lab.options.streams
    async with lab.processes() as (server, load):
        lab.step(f"{count:,} streams of a node")
        config = lab.config(stream={"heartbeat": _BEATS})
        port = await server.ask(int, "serve", name=NODE, config=config)
        used, kept_from = await _memory(lab, server, load, port)
        result.add("a node's: memory", used, "KiB", limit=5)
        lab.step("heartbeats")
        before = await server.ask(Usage, "usage")
        await asyncio.sleep(_BEATS)
        after = await server.ask(Usage, "usage")
        share = (after.cpu - before.cpu) / _BEATS * 100
        result.add(f"a node's: CPU for {count:,}", share, "% of a core")
        await lab.close(server, load)
        after = await server.ask(Usage, "tidy")
        kept = (after.rss - kept_from) / count / 1024
        result.add("a node's: memory kept when all have closed", kept, "KiB")
        lab.step("opened and closed again")
        before = await server.ask(Usage, "tidy")
        await lab.open(server, load, port, lab.users(), REQUEST)
        await lab.close(server, load)
        cpu = (await server.ask(Usage, "usage")).cpu - before.cpu
        result.add("a node's: CPU to open and close one", cpu / count * 1e6, "µs")
    async with lab.processes() as (server, load):
        lab.step(f"{count:,} streams of bare aiohttp-sse")
        port = await server.ask(int, "serve_bare")
        used, _ = await _memory(lab, server, load, port)
        result.add("bare aiohttp-sse: memory", used, "KiB")
    return result


async def _memory(lab: Lab, server: Child, load: Load, port: int) -> tuple[float, int]:
    """KiB of resident memory per stream, and bytes before there was any."""
    users = lab.users()
    await lab.open(server, load, port, users[:_WARM], REQUEST)
    await lab.close(server, load)
    before = await server.ask(Usage, "tidy")
    await lab.open(server, load, port, users, REQUEST)
    await asyncio.sleep(_SETTLED)
    after = await server.ask(Usage, "tidy")
    return (after.rss - before.rss) / len(users) / 1024, before.rss
