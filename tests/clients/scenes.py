"""The scenes: what happens to all clients at once, and what each of them made of it.

Each returns a verdict for each client: what stands in the table of docs/clients.rst, and why.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tests.clients.catalogue import Client
from tests.clients.gate import MARK, Gate, How
from tests.clients.running import Run
from tests.clients.world import World, port, told
from tests.harness import NotifyServer, SSEClient, eventually
from tests.integration.talk import ask, metric

YES = "yes"
NO = "no"
STOPS = "stops"
REPEATS = "repeats"
COMES_BACK = "comes back"
STAYS_AWAY = "stays away"


@dataclass(frozen=True)
class Verdict:
    """What a client made of a scene: `word` for the table, `why` for who wants to know more."""

    word: str
    why: str = ""


Verdicts = dict[str, Verdict]
Scene = Callable[[World, Sequence[Client]], Awaitable[dict[str, Verdicts]]]


def verdicts(runs: Iterable[Run], judge: Callable[[Run], Verdict]) -> Verdicts:
    return {run.client.name: judge(run) for run in runs}


def yes(wrong: str, run: Run) -> Verdict:
    """Yes, or no for this reason."""
    return Verdict(NO, f"{wrong} {told(run)}".strip()) if wrong else Verdict(YES)


async def _open_all(world: World, runs: Sequence[Run], urls: dict[Run, str]) -> None:
    """Start all clients and return when all streams have begun."""
    await _start_all(runs, urls)
    await world.until(lambda run: run.opened, runs)


async def _start_all(runs: Sequence[Run], urls: dict[Run, str], token: str | None = None) -> None:
    await asyncio.gather(*(run.start(urls[run], token or f"token-{run.user}", "") for run in runs))


def _urls(gates: dict[Run, Gate]) -> dict[Run, str]:
    return {run: f"http://127.0.0.1:{gate.port}" for run, gate in gates.items()}


# What is received


def _sent(run: Run) -> list[tuple[str, dict[str, Any] | bytes]]:
    """One event of each kind, by the type that a client is to hear."""
    multi_line = {"recipient_id": run.user, "data": "one\ntwo\r\nthree\rfour", "kind": "multi-line"}
    largest = {"recipient_id": run.user, "event": "order.shipped", "data": ""}
    room = 64_000 - len(json.dumps(largest))
    return [
        ("order.shipped", {"event": "order.shipped", "data": {"order": 7}, "kind": "typed"}),
        ("message", {"data": {"order": 8}, "kind": "untyped"}),
        ("message", json.dumps(multi_line, indent=2).encode()),
        ("message", {"data": "Grüße, 你好, 🎉, \u0085\u2028\u2029.", "kind": "non-ASCII"}),
        ("order.shipped", json.dumps({**largest, "data": "x" * room}).encode()),
    ]


async def receives(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """Events of each kind arrive as they were published, and heartbeats are none.

    Each client begins after an event that it is told, so it gets the others from the inbox.
    """
    async with world.node() as node, world.runs(clients) as runs:
        sent: dict[Run, list[tuple[str, Any]]] = {}
        for run in runs:
            first = await _cursor(world, node, run)
            events = _sent(run)
            for _, event in events:
                await world.publish(run, event)
            sent[run] = [
                (
                    type,
                    json.loads(event)
                    if isinstance(event, bytes)
                    else {"recipient_id": run.user, **event},
                )
                for type, event in events
            ]
            await run.start(node.url, f"token-{run.user}", first)
        await world.until(lambda run: len(run.events) >= len(sent[run]), runs)
        async with SSEClient(f"{node.url}/notify", token="token-witness") as witness:
            await eventually(lambda: witness.heartbeats >= 3)
        kinds = ("typed", "untyped", "multi-line", "non-ASCII", "largest")

        def judge(run: Run) -> Verdict:
            missing = [
                kind
                for kind, event in zip(kinds, sent[run], strict=True)
                if event not in run.events
            ]
            if missing:
                return yes(f"not the {', '.join(missing)} event", run)
            more = [event for event in run.events if event not in sent[run]]
            twice = len(run.events) - len(more) - len(sent[run])
            return yes(f"also {more[:3]}" if more else "some twice" if twice else "", run)

        return {"receives": verdicts(runs, judge)}


async def _cursor(world: World, node: NotifyServer, run: Run) -> str:
    """Publish an event, and return where a client goes on that has had it."""
    async with SSEClient(f"{node.url}/notify", token=f"token-{run.user}") as client:
        await client.wait_events(1)
        await world.publish(run, {"data": "before"})
        await client.wait_events(2)
        return client.last_event_id


# Nodes that end


class Load:
    """Publishes one event after the other to each client's user, until it is stopped."""

    def __init__(self, world: World, runs: Sequence[Run]) -> None:
        self.published = 0
        self._world = world
        self._runs = runs
        self._stopped = False
        self._task = asyncio.create_task(self._publish(), name="load")

    async def _publish(self) -> None:
        while not self._stopped:
            number = self.published
            results = await self._world.publisher.publish_many(
                {"recipient_id": run.user, "event": "order.shipped", "data": number}
                for run in self._runs
            )
            for result in results:
                if isinstance(result, Exception):
                    raise result
            self.published += 1
            await asyncio.sleep(0.05)

    async def next(self) -> int:
        """Return the number of an event once it is published; of the last, if it has stopped."""
        number = self.published - 1 if self._stopped else self.published
        await eventually(lambda: self.published > number)
        return number

    async def stop(self) -> None:
        """Return when the last has been published."""
        self._stopped = True
        await self._task


async def restarts(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """The only node is ended by SIGTERM, then by SIGKILL, while events are published."""
    found: dict[str, Verdicts] = {}
    async with world.node() as node, world.runs(clients) as runs:
        await _open_all(world, runs, dict.fromkeys(runs, node.url))
        load = Load(world, runs)
        for name, end in (("SIGTERM", node.terminate), ("SIGKILL", node.kill)):
            start = await _catch_up(world, runs, load)
            await end()
            await node.start()
            if name == "SIGKILL":
                await load.stop()
            found[name] = _whole(runs, start, await _catch_up(world, runs, load))
    return found


async def _catch_up(world: World, runs: Sequence[Run], load: "Load") -> int:
    """Return the number of an event that is published now, when all clients have it."""
    number = await load.next()
    await world.until(lambda run: _last(run) >= number, runs)
    return number


def _last(run: Run) -> int:
    return run.numbers[-1] if run.numbers else -1


def _whole(runs: Sequence[Run], start: int, end: int) -> Verdicts:
    """Whether each client got each number once, in order, from `start` to `end`."""
    return verdicts(runs, lambda run: yes(_amiss(run, start, end), run))


def _amiss(run: Run, start: int, end: int) -> str:
    """What is wrong with the numbers from `start` to `end`, if anything."""
    if half := [data for _, data in run.events if not isinstance(data, dict)]:
        return f"half an event: {half[0]!r:.40}"
    wanted = range(start, end + 1)
    got = [number for number in run.numbers if number in wanted]
    if got == [*wanted]:
        return ""
    lost = sorted({*wanted} - {*got})
    twice = sorted({number for number in got if got.count(number) > 1})
    order = "" if lost or twice else "in another order, "
    return f"{order}lost {_some(lost)}, twice {_some(twice)}, of {start} to {end}"


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "") or "none"


async def drains(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """A node drains while another is there: everybody goes there, and misses nothing."""
    async with (
        world.node() as node,
        world.node() as other,
        world.runs(clients) as runs,
        world.gates(runs, node) as gates,
    ):
        await _open_all(world, runs, _urls(gates))
        for gate in gates.values():
            gate.lead_to(port(other))
        load = Load(world, runs)
        start = await _catch_up(world, runs, load)
        await node.terminate()
        await _catch_up(world, runs, load)
        await load.stop()
        return {"drain": _whole(runs, start, await _catch_up(world, runs, load))}


# Connections that end


async def cuts(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """A stream is cut within an event, by FIN and by RST."""
    found: dict[str, Verdicts] = {}
    long = {"pad": f"{'z' * 3000}{MARK.decode()}{'z' * 3000}"}
    async with world.node() as node, world.runs(clients) as runs, world.gates(runs, node) as gates:
        await _open_all(world, runs, _urls(gates))
        hows: tuple[How, How] = ("FIN", "RST")
        for start, how in zip((0, 7), hows, strict=True):
            await _publish(world, runs, start, start + 1, start + 2)
            await _have(world, runs, start + 2)
            for gate in gates.values():
                gate.cut_next = how
            await _publish(world, runs, start + 3, **long)
            await _publish(world, runs, start + 4, start + 5, start + 6)
            await _have(world, runs, start + 6)
            found[how] = _whole(runs, start, start + 6)
        assert all(gate.cut_next is None for run, gate in gates.items() if run.opened)
    return found


async def _publish(world: World, runs: Sequence[Run], *numbers: int, **members: object) -> None:
    for number in numbers:
        await asyncio.gather(*(world.publish(run, {"data": number, **members}) for run in runs))


async def _have(world: World, runs: Sequence[Run], number: int) -> None:
    """Return when all clients have the event."""
    await world.until(lambda run: number in run.numbers, runs)


async def reconnects(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """Each stream is cut as soon as it has begun, a hundred times; none is left behind."""
    times = 100
    async with (
        world.node(stream__retry=100) as node,
        world.runs(clients) as runs,
        world.gates(runs, node) as gates,
    ):
        for gate in gates.values():
            gate.cut_opened = times
        await _start_all(runs, _urls(gates))
        await world.until(lambda run: not gates[run].cut_opened, runs, 4 * world.patience)
        done = {run: times - round(gate.cut_opened) for run, gate in gates.items()}
        for gate in gates.values():
            gate.cut_opened = 0
        await _publish(world, runs, 0)
        await _have(world, runs, 0)
        await asyncio.gather(*(run.stop() for run in runs))

        async def left() -> bool:
            return await metric(node, "aionotify_streams") == 0

        none_left = True
        try:
            await eventually(left, world.patience)
        except AssertionError:
            none_left = False

        def judge(run: Run) -> Verdict:
            if not none_left:
                return yes("streams are left", run)
            if run.numbers != [0]:
                return yes(f"after {done[run]} reconnects: {run.numbers}", run)
            return Verdict(str(done[run]))

        return {"reconnects": verdicts(runs, judge)}


async def silences(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """Nothing comes any more, and nobody says that the connection is lost."""
    async with (
        world.node(stream__heartbeat=15) as node,
        world.runs(clients) as runs,
        world.gates(runs, node) as gates,
    ):
        await _open_all(world, runs, _urls(gates))
        start = asyncio.get_running_loop().time()
        for gate in gates.values():
            gate.flowing.clear()
        asked = {run: len(gate.asked) for run, gate in gates.items()}
        back: dict[Run, float] = {}

        def has_noticed(run: Run) -> bool:
            if run not in back and len(gates[run].asked) > asked[run]:
                back[run] = asyncio.get_running_loop().time() - start
            return run in back

        await world.until(has_noticed, runs, 120)
        return {
            "silence": verdicts(
                runs,
                lambda run: Verdict(f"{round(back[run])} s" if run in back else NO),
            )
        }


# Refusals


async def refused(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """401: the main host does not know the token. 403: it is no token."""
    return {
        "401": await _refused(world, clients, "unknown"),
        "403": await _refused(world, clients, "no token"),
    }


async def _refused(world: World, clients: Sequence[Client], token: str) -> Verdicts:
    async with world.node() as node, world.runs(clients) as runs, world.gates(runs, node) as gates:
        await _start_all(runs, _urls(gates), token)

        def has_stopped(run: Run) -> bool:
            return run.refused or run.ended

        await world.until(lambda run: has_stopped(run) or len(gates[run].asked) >= 3, runs)

        def judge(run: Run) -> Verdict:
            why = f"after {len(gates[run].asked)} requests"
            return Verdict(STOPS if has_stopped(run) else REPEATS, why)

        return verdicts(runs, judge)


async def full(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """503: the node has no room, and later it has."""
    file = world.directory / "full.yaml"
    file.write_text("server: {max_streams: 1}\n")
    async with (
        world.node(file) as node,
        world.runs(clients) as runs,
        world.gates(runs, node) as gates,
    ):
        async with SSEClient(f"{node.url}/notify", token="token-holder"):
            retry_after = float((await ask(node, token="token-other")).headers["Retry-After"])
            await _start_all(runs, _urls(gates))
            await world.until(lambda run: gates[run].asked, runs)
            file.write_text("server: {max_streams: 0}\n")
            node.reload()
            await world.until(lambda run: run.opened, runs)
        return {
            "503": verdicts(runs, _comes_back),
            "Retry-After": verdicts(runs, lambda run: _waits(gates[run], retry_after)),
        }


async def too_many(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """429: the user has too many streams, and then fewer."""
    async with (
        world.node(server__max_streams_per_user=1) as node,
        world.runs(clients) as runs,
        world.gates(runs, node) as gates,
    ):
        async with AsyncExitStack() as others:
            for run in runs:
                other = SSEClient(f"{node.url}/notify", token=f"token-{run.user}")
                await others.enter_async_context(other)
            await _start_all(runs, _urls(gates))
            await world.until(lambda run: gates[run].asked, runs)
        await world.until(lambda run: run.opened, runs)
        return {"429": verdicts(runs, _comes_back)}


def _comes_back(run: Run) -> Verdict:
    return Verdict(COMES_BACK if run.opened else STAYS_AWAY, told(run))


def _waits(gate: Gate, seconds: float) -> Verdict:
    """Whether a client waited as long as the first answer said, before it asked again."""
    first, second, *_ = [each.at for each in gate.asked] + [0.0, 0.0]
    waited = second - first
    return Verdict(YES if waited >= seconds else NO, f"asked again after {waited:.1f} s")


async def expires(world: World, clients: Sequence[Client]) -> dict[str, Verdicts]:
    """A token ends, and the application has a new one by then."""
    async with world.node() as node, world.runs(clients) as runs, world.gates(runs, node) as gates:
        for run in runs:
            world.main_host.answers[f"short-{run.user}"] = {"user_id": run.user, "expires_in": 8}
        await asyncio.gather(
            *(run.start(_urls(gates)[run], f"short-{run.user}", "") for run in runs)
        )
        await world.until(lambda run: run.opened, runs)
        load = Load(world, runs)
        for run in runs:
            world.main_host.refused.add(f"short-{run.user}")
            await run.set_token(f"token-{run.user}")
        await world.until(lambda run: run.opened > 1 or run.refused, runs)
        await load.stop()
        found = _whole(runs, 0, await _catch_up(world, runs, load))
        world.main_host.answers.clear()
        world.main_host.refused.clear()
        return {"expiry": found}


# The scenes that tell clients apart, which the tests have; and all.
TESTED: Sequence[Scene] = (receives, restarts, cuts, refused, full)
ALL: Sequence[Scene] = (*TESTED, too_many, drains, expires, reconnects, silences)
