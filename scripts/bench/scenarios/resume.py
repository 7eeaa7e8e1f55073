"""What it costs when everybody comes back at once and has missed something.

Beside it the bare parts of it: reading the inboxes with pipelined LRANGE, writing the frames with
`transport.write`, and ephemeral events to the same streams.
"""

import asyncio
import itertools
import time

from aionotify import Publisher
from aionotify.broker.published import Published
from aionotify.events import cursor
from aionotify.events.position import own_guess
from scripts.bench.control import Child
from scripts.bench.delivery import deliver, everything
from scripts.bench.lab import NODE, Lab
from scripts.bench.load import Load
from scripts.bench.pace import RawPublisher, ephemeral_message, message, pace
from scripts.bench.results import Result
from scripts.bench.server import Usage

_MISSED = 10
_BATCH = 64  # commands in a pipeline, as in `aionotify.broker.connection.scripts`
_SAMPLE_CURSOR = "1.00000000000000.00000000000000.aaaa"
_ROUNDS = 2  # each is long
_TARGET = 2.0


async def resume(lab: Lab) -> Result:
    """Streams that come back at once with their last ids."""
    count = lab.options.resumed
    result = Result("resume", f"{count:,} streams come back, each has missed {_MISSED} events")
    users = lab.users(count)
    events = count * _MISSED
    rounds = min(_ROUNDS, lab.options.rounds)
    caught_up: list[float] = []
    nothing: list[float] = []
    seconds: list[float] = []
    read: list[float] = []
    write: list[float] = []
    live: list[float] = []
    lost = repeated = 0
    async with lab.processes() as (server, load), Publisher(lab.redis_url) as publisher:
        port = await server.ask(int, "serve", name=NODE, config=lab.config())
        lab.step(f"publishing {events:,} events")
        everyone = own_guess(time.time())
        positions = [await _publish(publisher, users, n) for n in range(_MISSED + 1)]
        missed = _cursors(users, everyone, positions[0])
        current = _cursors(users, everyone, positions[-1])
        sample = message(users[0], 0).decode()
        for turn in range(rounds):
            lab.step(f"round {turn + 1}: nothing missed")
            before = await server.ask(Usage, "tidy")
            _, after = await lab.open(server, load, port, current)
            nothing.append(after.cpu - before.cpu)
            lab.step(f"round {turn + 1}: ephemeral events")
            live.append(await _ephemeral(lab, server, load, users))
            lab.step(f"round {turn + 1}: bare writes")
            await load.forget()
            cpu = await server.ask(
                float, "bare_loop", name=NODE, event=sample, cursor=_SAMPLE_CURSOR, times=_MISSED
            )
            write.append(cpu)
            await everything(load, events)
            await lab.close(server, load)
            lab.step(f"round {turn + 1}: bare reads")
            read.append(
                await server.ask(float, "bare_read", name=NODE, recipients=users, batch=_BATCH)
            )
            lab.step(f"round {turn + 1}: {_MISSED} missed")
            before, began = await server.ask(Usage, "tidy"), time.monotonic()
            _, after = await lab.open(server, load, port, missed)
            heard = await everything(load, events)
            seconds.append(time.monotonic() - began)
            caught_up.append(after.cpu - before.cpu)
            lost += events - heard.events
            repeated += heard.repeated
            await lab.close(server, load)

    def per_event(samples: list[float]) -> list[float]:
        return [sample / events * 1e6 for sample in samples]

    catching_up = [all - none for all, none in zip(caught_up, nothing, strict=True)]
    bare = [a + b for a, b in zip(read, write, strict=True)]
    result.add("all of it: CPU per event", per_event(caught_up), "µs")
    result.add("catching up, without the handshake: CPU per event", per_event(catching_up), "µs")
    result.add("bare LRANGE: CPU per event", per_event(read), "µs")
    result.add("bare write: CPU per event", per_event(write), "µs")
    result.add("ephemeral, live: CPU per event", live, "µs")
    per_stream = [cpu / count * 1e6 for cpu in nothing]
    result.add("handshake, nothing missed: CPU", per_stream, "µs")
    result.add("until all have everything", seconds, "s")
    result.add("lost", lost, "events", limit=0)
    result.add("repeated", repeated, "events", limit=0)
    result.add_ratio("catching up / ephemeral, live", per_event(catching_up), live, _TARGET)
    result.add_ratio("catching up / bare LRANGE and write", catching_up, bare)
    result.add_ratio("all of it / ephemeral, live", per_event(caught_up), live)
    return result


async def _publish(publisher: Publisher, users: list[str], number: int) -> list[int]:
    """Publish one event to each user; return their positions."""
    positions = []
    for start in range(0, len(users), 1000):
        some = users[start : start + 1000]
        for published in await publisher.publish_many(message(user, number) for user in some):
            assert isinstance(published, Published), published
            positions.append(int(published.event_id.partition(".")[2], 16))
    return positions


def _cursors(users: list[str], everyone: int, positions: list[int]) -> list[str]:
    head = cursor.everyone_part(None, everyone).decode()
    return [
        f"{user}&last_event_id={head}{cursor.own_part(position, cursor.tag(user)).decode()}"
        for user, position in zip(users, positions, strict=True)
    ]


async def _ephemeral(lab: Lab, server: Child, load: Load, users: list[str]) -> float:
    count, rate = len(users), lab.options.rate
    with RawPublisher(lab.redis_port) as publisher:
        numbers = itertools.count(_MISSED + 1)

        def publish(first: int, end: int) -> None:
            publisher.publish(ephemeral_message(users[i], next(numbers)) for i in range(first, end))

        done = await deliver(
            server, load, count, lambda: asyncio.to_thread(pace, count, rate, publish)
        )
    return done.cpu
