"""``aionotify demo --check``: the demo, unattended.

It publishes to each user, to both and to everyone in every way, and checks what arrives on both
users' streams. Silence proves nothing, so a last event follows all others on the same path: events
that have not arrived before it will not arrive.
"""

import asyncio
import json
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import aiohttp

from aionotify import tasks
from aionotify.client.client import Client
from aionotify.config import Config
from aionotify.demo import screen
from aionotify.demo.report import AUDIENCE, MISSED, Arrival, Delivery, Report
from aionotify.demo.running import running
from aionotify.demo.ways import WAYS, Event, Way, python_publisher, redis_publish
from aionotify.demo.world import USERS, Ports, World
from aionotify.errors import AionotifyError

_TYPE: Final = "demo.check"
_TIMEOUT: Final = 30.0  # seconds for each step; some start processes, and a machine may be busy
_LAST: Final = {("last", "ephemeral"), ("last", "durable")}


async def run(
    config: Config,
    ports: Ports,
    users: Mapping[str, str] = USERS,
    ways: Sequence[Way] = WAYS,
    within: float = _TIMEOUT,
) -> int:
    """Check everything, print the result, and return 0 or, if anything is wrong, 1.

    Args:
        users: the user of each token, as the main host says.
        ways: the ways to publish.
        within: seconds for each step.
    """
    async with running(config, ports, users) as world:
        report = await check(world, ways, within)
    screen.show_report(report)
    return int(bool(report.problems))


async def check(world: World, ways: Sequence[Way], within: float = _TIMEOUT) -> Report:
    """Return what arrived of events published in all `ways`, and after a disconnect."""
    failures: list[str] = []

    async def attempt(what: str, doing: Awaitable[None]) -> bool:
        try:
            async with tasks.timeout(within):
                await doing
        except TimeoutError:
            failures.append(f"{what}: not done within {within:g} s")
        except (AionotifyError, aiohttp.ClientError, OSError) as error:
            failures.append(f"{what}: {error}")
        else:
            return True
        return False

    streams = [_Stream(world, user) for user in world.tokens]
    async with AsyncExitStack() as undo:
        names = {stream: f"the stream of {stream.user}" for stream in streams}
        opened = [each for each in streams if await attempt(names[each], each.open(undo))]
        await asyncio.gather(
            *(attempt(way.name, way.publish(world, _to_all(way.name, world))) for way in ways)
        )
        await attempt("the last events", _publish_last(world, "*"))
        for each in opened:
            wanted = {
                (way.name, to)
                for way in ways
                for to, users in AUDIENCE.items()
                if each.user in users
            }
            await attempt(names[each], each.read(wanted | _LAST))

    deliveries = [
        Delivery(way, to, [each for s in streams for each in s.arrived(way.name, to)])
        for way in ways
        for to in AUDIENCE
    ]
    again = _Stream(world, streams[0].user, streams[0].cursor)
    await attempt("resuming after a disconnect", _resume(world, again))
    resumed = [each.to for each in again.arrivals if (each.way, each.to) not in _LAST]
    return Report(deliveries, resumed, failures)


class _Stream:
    """One user's stream, and the events that arrived on it."""

    def __init__(self, world: World, user: str, cursor: str = "") -> None:
        self.user = user
        self.cursor = cursor
        self.arrivals: list[Arrival] = []
        self._client = Client(f"{world.url}/notify", token=world.tokens[user], last_event_id=cursor)

    async def open(self, undo: AsyncExitStack) -> None:
        """Return once the stream has begun."""
        await undo.enter_async_context(self._client)
        self.cursor = (await anext(self._client)).id

    async def read(self, wanted: Collection[tuple[str, str]]) -> None:
        """Read events until each of `wanted`, pairs of a way and a target, has arrived."""
        left = set(wanted)
        while left:
            event = await anext(self._client)
            is_durable, self.cursor = event.id != self.cursor, event.id
            if event.type == _TYPE:
                content = json.loads(event.data)
                way, to = content["data"]["way"], content["data"]["to"]
                self.arrivals.append(
                    Arrival(self.user, way, to, content["recipient_id"], is_durable)
                )
                left.discard((way, to))

    def arrived(self, way: str, to: str) -> list[Arrival]:
        return [each for each in self.arrivals if (each.way, each.to) == (way, to)]


async def _resume(world: World, stream: _Stream) -> None:
    """Publish to a user whose stream is closed, and open it again."""
    await redis_publish(world, [_event(stream.user, "cut", "an ephemeral one")])
    await python_publisher(world, [_event(stream.user, "cut", each) for each in MISSED])
    async with AsyncExitStack() as undo:
        await stream.open(undo)
        await _publish_last(world, stream.user)
        await stream.read(_LAST)


async def _publish_last(world: World, recipient_id: str) -> None:
    await redis_publish(world, [_event(recipient_id, "last", "ephemeral")])
    await python_publisher(world, [_event(recipient_id, "last", "durable")])


def _to_all(way: str, world: World) -> list[Event]:
    recipients: dict[str, str | list[str]] = {"both": list(world.tokens), "everyone": "*"}
    return [_event(recipients.get(to, to), way, to) for to in AUDIENCE]


def _event(recipient_id: str | list[str], way: str, to: str) -> Event:
    return {"recipient_id": recipient_id, "event": _TYPE, "data": {"way": way, "to": to}}
