"""What an inbox takes in Redis and what reading it costs there, beside other structures.

Times are Redis' own, from ``INFO commandstats``.
"""

from typing import Final

from aionotify import Publisher
from aionotify.broker.connection.scripts import source
from aionotify.broker.keys import Keys
from aionotify.broker.published import Published
from aionotify.config import InboxConfig
from scripts.bench.lab import Lab
from scripts.bench.pace import PAYLOAD, message
from scripts.bench.results import Result

_INBOXES: Final = 2000  # of one event each, to see what the server really grows by
_LENGTHS: Final = (100, 10_000)
_RETURNED: Final = (1, 10, 100)
_READS: Final = 200
_USER: Final = "user-000001"
_KEY: Final = Keys("aionotify", "").inbox(_USER)
_KNOWN: Final = (0, 0, 0)  # of the clock and of what Redis has lost: nothing
_PAGE: Final = (100, 65536, 604800)  # what `aionotify.broker.inbox` asks for: events, bytes, s

Command = tuple[str | bytes | int, ...]


async def inbox(lab: Lab) -> Result:
    """Memory of an inbox by its length; time of a read by what it returns."""
    result = Result("inbox", f"Inboxes of events of {PAYLOAD} bytes")
    lab.step("memory")
    await _memory(lab, result)
    for length in _LENGTHS:
        lab.step(f"reading in an inbox of {length:,}")
        await _reads(lab, result, length)
    return result


async def _memory(lab: Lab, result: Result) -> None:
    fills = {"list": _fill_list, "stream": _fill_stream, "zset": _fill_zset}
    for count, what, limit in ((1, "1 event", 700), (100, "100 events", 1.3 * 100 * PAYLOAD)):
        for structure, fill in fills.items():
            await lab.redis.flushall()
            await fill(lab, count)
            used = await lab.redis.memory_usage(_KEY, samples=0)
            assert used is not None
            bound = limit if structure == "list" else None
            result.add(f"{what}, {structure}: memory", used, "B", limit=bound)
    await lab.redis.flushall()
    before = await lab.redis.info("memory")
    async with Publisher(lab.redis_url) as publisher:
        await _published(publisher, [message(f"user-{i:06d}", i) for i in range(_INBOXES)])
    after = await lab.redis.info("memory")
    growth = (after["used_memory"] - before["used_memory"]) / _INBOXES
    result.add("1 event, list: growth of Redis", growth, "B", limit=700)


async def _reads(lab: Lab, result: Result, length: int) -> None:
    redis = lab.redis
    sha = await redis.script_load(source("read.lua"))
    await redis.flushall()
    positions = await _fill_list(lab, length)
    for some in _RETURNED:
        after = positions[-some - 1] if some < length else positions[0] - 1
        script = "EVALSHA", sha, 1, _KEY, *_PAGE, *_KNOWN, after
        result.add(f"{some} of {length:,}, list: read.lua", await _time_of(lab, script), "µs")
        bare = "LRANGE", _KEY, -some, -1
        result.add(f"{some} of {length:,}, list: LRANGE", await _time_of(lab, bare), "µs")
    await redis.flushall()
    ids = await _fill_stream(lab, length)
    for some in _RETURNED:
        start = b"(" + ids[-some - 1] if some < length else "-"
        cost = await _time_of(lab, ("XRANGE", _KEY, start, "+", "COUNT", 100))
        result.add(f"{some} of {length:,}, stream: XRANGE", cost, "µs")
    await redis.flushall()
    await _fill_zset(lab, length)
    for some in _RETURNED:
        command = "ZRANGEBYSCORE", _KEY, length - some, "+inf", "LIMIT", 0, 100
        cost = await _time_of(lab, command)
        result.add(f"{some} of {length:,}, zset: ZRANGEBYSCORE", cost, "µs")


async def _time_of(lab: Lab, command: Command) -> list[float]:
    """Microseconds that one call takes in Redis, in each of several rounds."""
    samples = []
    for _ in range(lab.options.rounds):
        await lab.redis.config_resetstat()
        async with lab.redis.pipeline(transaction=False) as pipeline:
            for _ in range(_READS):
                pipeline.execute_command(*command)
            await pipeline.execute()
        stats = await lab.redis.info("commandstats")
        samples.append(float(stats[f"cmdstat_{str(command[0]).lower()}"]["usec_per_call"]))
    return samples


async def _fill_list(lab: Lab, count: int) -> list[int]:
    """Fill an inbox of ours; return the positions."""
    async with Publisher(lab.redis_url, inbox=InboxConfig(max_events=count)) as publisher:
        return await _published(publisher, [message(_USER, number) for number in range(count)])


async def _fill_stream(lab: Lab, count: int) -> list[bytes]:
    return [
        await lab.redis.execute_command("XADD", _KEY, "*", "e", message(_USER, number))  # type: ignore[no-untyped-call]
        for number in range(count)
    ]


async def _fill_zset(lab: Lab, count: int) -> None:
    for number in range(count):
        await lab.redis.zadd(_KEY, {message(_USER, number): number})


async def _published(publisher: Publisher, events: list[bytes]) -> list[int]:
    positions = []
    for published in await publisher.publish_many(events):
        assert isinstance(published, Published), published
        positions.append(int(published.event_id.partition(".")[2], 16))
    return positions
