"""One round of deliveries: publish, wait until all has arrived, see what it has cost."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from scripts.bench.control import Child
from scripts.bench.load import Arrived, Load
from scripts.bench.results import Result
from scripts.bench.server import Usage

_QUIET = 2.0  # seconds without anything new, after which what is missing is lost
_PERCENT = {"p50": 50, "p99": 99, "p99.9": 101, "max": 100}


@dataclass(frozen=True, slots=True)
class Round:
    """What a round has cost: `cpu` in microseconds of the server's CPU per delivery."""

    cpu: float
    lost: int
    repeated: int
    latency: list[float]


async def deliver(
    server: Child, load: Load, expected: int, publish: Callable[[], Awaitable[None]]
) -> Round:
    """Measure `publish`, which has `expected` events written to clients."""
    await load.forget()
    before = await server.ask(Usage, "tidy")
    await publish()
    heard = await everything(load, expected)
    after = await server.ask(Usage, "usage")
    arrived = heard.events + heard.unnumbered
    return Round(
        (after.cpu - before.cpu) / expected * 1e6,
        expected - arrived,
        heard.repeated,
        await load.latency(),
    )


async def everything(load: Load, expected: int, quiet: float = _QUIET) -> Arrived:
    """Wait for so many events since the last `forget`, or until no more are coming."""
    clock = asyncio.get_running_loop().time
    best, since = -1, clock()
    while True:
        heard = await load.arrived()
        arrived = heard.events + heard.unnumbered
        if arrived > best:
            best, since = arrived, clock()
        if arrived >= expected or clock() - since > quiet:
            return heard
        await asyncio.sleep(0.05)


def report(result: Result, label: str, rounds: list[Round]) -> list[float]:
    """Add the figures of rounds of the same kind to `result`; return the CPU of each."""
    cpu = [each.cpu for each in rounds]
    result.add(f"{label}: CPU per delivery", cpu, "µs")
    with_latency = [each.latency for each in rounds if each.latency]
    if with_latency:
        for name, index in _PERCENT.items():
            values = [latency[index] * 1000 for latency in with_latency]
            result.add(f"{label}: latency {name}", values, "ms")
    for name, numbers in (
        ("lost", [each.lost for each in rounds]),
        ("repeated", [each.repeated for each in rounds]),
    ):
        if with_latency or any(numbers):
            result.add(f"{label}: {name}", sum(numbers), "events", limit=0)
    return cpu
