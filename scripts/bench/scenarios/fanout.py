"""What it costs to write an event to those it is for.

The baseline is ``transport.write`` of the same bytes to the same sockets in the same process, at
the same pace: each time that the server hears of an event it writes, but what it hears is a byte
on a socket, and what it writes is ready.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from aionotify import Publisher
from aionotify.broker.keys import Keys
from scripts.bench.control import Child
from scripts.bench.delivery import Round, deliver, everything, report
from scripts.bench.lab import NODE, Lab
from scripts.bench.load import Load
from scripts.bench.pace import RawPublisher, Trigger, ephemeral_message, message, pace
from scripts.bench.results import Result

_KEYS = Keys("aionotify")
_CURSOR = "1.00000000000000.00000000000000.aaaa"  # as long as each is
_AT_ONCE = 1e9  # events per second: as fast as it goes
_FLOOD = 40_000  # events: Redis cuts off a subscriber that is 32 MB behind
_TARGET = 2.0


async def unicast(lab: Lab) -> Result:
    """Ephemeral events for one user each."""
    result = Result(
        "unicast", f"Ephemeral events, {lab.options.streams:,} streams of as many users"
    )
    users, options = lab.users(), lab.options
    count = int(options.rate * options.seconds)
    ours: list[Round] = []
    bare: list[Round] = []
    shared: list[Round] = []
    saturated: list[Round] = []
    alone: list[float] = []
    async with lab.node(users) as (server, load):
        sample = message(users[0], 0).decode()
        trigger_port = await server.ask(int, "trigger")
        await server.tell("bare", name=NODE, event=sample, cursor=None, everyone=False)
        with RawPublisher(lab.redis_port) as publisher, Trigger(trigger_port) as trigger:
            recipients, numbers = itertools.cycle(users), itertools.count(1)

            def publish(first: int, end: int) -> None:
                publisher.publish(
                    ephemeral_message(next(recipients), next(numbers)) for _ in range(first, end)
                )

            def publish_shared(first: int, end: int) -> None:
                channel = _KEYS.ephemeral.encode()
                publisher.publish(
                    (channel, message(next(recipients), next(numbers))) for _ in range(first, end)
                )

            for turn in range(options.rounds):
                lab.step(f"round {turn + 1}: {options.rate:,.0f} events/s")
                ours.append(
                    await deliver(server, load, count, _paced(count, options.rate, publish))
                )
                lab.step(f"round {turn + 1}: the same on the shared channel")
                on_one = _paced(count, options.rate, publish_shared)
                shared.append(await deliver(server, load, count, on_one))
                lab.step(f"round {turn + 1}: bare writes at that pace")
                pull = _paced(count, options.rate, lambda first, end: trigger.pull(end - first))
                bare.append(await deliver(server, load, count, pull))
                alone.append(await _alone(server, load, len(users), sample))
                lab.step(f"round {turn + 1}: events as fast as they come")
                flood = _paced(_FLOOD, _AT_ONCE, _in_steps(publish))
                saturated.append(await deliver(server, load, _FLOOD, flood))
    cpu = report(result, "ephemeral", ours)
    report(result, "ephemeral, on the shared channel", shared)
    floor = report(result, "bare write", bare)
    result.add("bare write, all in one loop: CPU per delivery", alone, "µs")
    report(result, "ephemeral, saturated", saturated)
    result.add_ratio("ephemeral / bare write", cpu, floor, _TARGET)
    result.add_ratio("ephemeral / bare write in one loop", cpu, alone)
    return result


async def broadcast(lab: Lab) -> Result:
    """Ephemeral and durable events for everyone."""
    result = Result("broadcast", f"Events for everyone, {lab.options.streams:,} streams")
    users, options = lab.users(), lab.options
    count = max(1, int(options.broadcasts * options.seconds))
    kinds: dict[str, list[Round]] = {"ephemeral": [], "durable": [], "bare write": []}
    async with lab.node(users) as (server, load), Publisher(lab.redis_url) as durably:
        trigger_port = await server.ask(int, "trigger")
        sample = message("*", 0).decode()
        with RawPublisher(lab.redis_port) as publisher, Trigger(trigger_port) as trigger:
            numbers = itertools.count(1)

            def ephemeral(first: int, end: int) -> None:
                publisher.publish(ephemeral_message("*", next(numbers)) for _ in range(first, end))

            await server.tell("bare", name=NODE, event=sample, cursor=None, everyone=True)
            for turn in range(options.rounds):
                steps = {
                    "ephemeral": _paced(count, options.broadcasts, ephemeral),
                    "durable": _published(
                        durably, count, options.broadcasts, lambda: message("*", next(numbers))
                    ),
                    "bare write": _paced(
                        count, options.broadcasts, lambda first, end: trigger.pull(end - first)
                    ),
                }
                for kind, step in steps.items():
                    lab.step(f"round {turn + 1}: {kind}")
                    kinds[kind].append(await deliver(server, load, count * len(users), step))
    cpu = {kind: report(result, kind, rounds) for kind, rounds in kinds.items()}
    result.add_ratio("ephemeral / bare write", cpu["ephemeral"], cpu["bare write"], _TARGET)
    result.add_ratio("durable / bare write", cpu["durable"], cpu["bare write"], _TARGET)
    return result


async def durable(lab: Lab) -> Result:
    """Durable events for one user each, published by `Publisher`, beside ephemeral ones."""
    result = Result("durable", f"Durable events, {lab.options.streams:,} streams of as many users")
    users, options = lab.users(), lab.options
    rate = options.durable_rate
    count = int(rate * options.seconds)
    kinds: dict[str, list[Round]] = {"durable": [], "ephemeral": [], "bare write": []}
    async with lab.node(users) as (server, load), Publisher(lab.redis_url) as durably:
        trigger_port = await server.ask(int, "trigger")
        sample = message(users[0], 0).decode()
        await server.tell("bare", name=NODE, event=sample, cursor=_CURSOR, everyone=False)
        with RawPublisher(lab.redis_port) as publisher, Trigger(trigger_port) as trigger:
            recipients, numbers = itertools.cycle(users), itertools.count(1)

            def event() -> bytes:
                return message(next(recipients), next(numbers))

            def ephemeral(first: int, end: int) -> None:
                publisher.publish(
                    ephemeral_message(next(recipients), next(numbers)) for _ in range(first, end)
                )

            for turn in range(options.rounds):
                steps = {
                    "durable": _published(durably, count, rate, event),
                    "ephemeral": _paced(count, rate, ephemeral),
                    "bare write": _paced(count, rate, lambda first, end: trigger.pull(end - first)),
                }
                for kind, step in steps.items():
                    lab.step(f"round {turn + 1}: {kind}, {rate:,.0f} events/s")
                    kinds[kind].append(await deliver(server, load, count, step))
    cpu = {kind: report(result, kind, rounds) for kind, rounds in kinds.items()}
    result.add_ratio("durable / ephemeral", cpu["durable"], cpu["ephemeral"], _TARGET)
    result.add_ratio("durable / bare write", cpu["durable"], cpu["bare write"])
    return result


def _paced(
    count: int, rate: float, emit: Callable[[int, int], None]
) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.to_thread(pace, count, rate, emit)


def _in_steps(emit: Callable[[int, int], None], size: int = 100) -> Callable[[int, int], None]:
    def step(first: int, end: int) -> None:
        for start in range(first, end, size):
            emit(start, min(start + size, end))

    return step


def _published(
    publisher: Publisher, count: int, rate: float, event: Callable[[], bytes]
) -> Callable[[], Awaitable[None]]:
    """Publish durably from this process' loop, each event when the pace says so."""

    async def publish() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:

            def start(number: int) -> None:
                for _ in range(number):
                    tasks.create_task(publisher.publish(event()))

            def emit(first: int, end: int) -> None:
                loop.call_soon_threadsafe(start, end - first)

            await asyncio.to_thread(pace, count, rate, emit)
            await asyncio.sleep(0)  # the last ones are still to be started

    return publish


async def _alone(server: Child, load: Load, streams: int, sample: str) -> float:
    await load.forget()
    cpu = await server.ask(float, "bare_loop", name=NODE, event=sample, cursor=None, times=1)
    await everything(load, streams)
    return cpu / streams * 1e6
