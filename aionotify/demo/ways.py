"""Every way to publish, each used as a producer would."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from aionotify.broker.connection.endpoint import Endpoint, replies
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import Publisher
from aionotify.config import RedisConfig
from aionotify.demo.world import HOST, World
from aionotify.errors import AionotifyError

Event = dict[str, Any]
Publish = Callable[[World, Sequence[Event]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to publish; `durable` if its events are stored in inboxes."""

    name: str
    durable: bool
    publish: Publish


class NotPublished(AionotifyError):
    """A way to publish has failed."""


async def redis_publish(world: World, events: Sequence[Event]) -> None:
    """A plain PUBLISH, over TCP as any program would."""
    endpoint, channel = Endpoint(RedisConfig(url=_redis(world))), _channel(world)
    try:
        for event in events:
            publish = "PUBLISH", channel, json.dumps(event)
            await replies(endpoint.commands("writes").execute, publish)
    finally:
        await endpoint.close()


async def python_publisher(world: World, events: Sequence[Event]) -> None:
    """``aionotify.Publisher``, as in a service."""
    async with Publisher(_redis(world), prefix=world.config.redis.prefix) as publisher:
        for event in events:
            await publisher.publish(event)


async def http_object(world: World, events: Sequence[Event]) -> None:
    """``POST /publish``, one request per event."""
    for event in events:
        await _post(world, json.dumps(event))


async def http_array(world: World, events: Sequence[Event]) -> None:
    """``POST /publish``, one request with an array."""
    await _post(world, json.dumps(events))


async def http_ndjson(world: World, events: Sequence[Event]) -> None:
    """``POST /publish``, one request with one line per event."""
    await _post(world, "\n".join(map(json.dumps, events)))


async def command(world: World, events: Sequence[Event]) -> None:
    """``aionotify publish``: the first event as arguments, the others on standard input."""
    await _run(world, events)


async def ephemeral_command(world: World, events: Sequence[Event]) -> None:
    """``aionotify publish --ephemeral``, in the same two ways."""
    await _run(world, events, "--ephemeral")


WAYS: Final = (
    Way("Redis PUBLISH", False, redis_publish),
    Way("POST /publish, object", True, http_object),
    Way("POST /publish, array", True, http_array),
    Way("POST /publish, NDJSON", True, http_ndjson),
    Way("aionotify.Publisher", True, python_publisher),
    Way("aionotify publish", True, command),
    Way("aionotify publish --ephemeral", False, ephemeral_command),
)


def _redis(world: World) -> str:
    return f"redis://{HOST}:{world.redis_port}"


def _channel(world: World) -> str:
    return Keys.of(world.config.redis).ephemeral


async def _post(world: World, body: str) -> None:
    headers = {"Authorization": f"Bearer {world.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{world.url}/publish", data=body) as answer,
    ):
        if answer.status != 202:
            raise NotPublished(f"POST /publish answered {answer.status}: {await answer.text()}")


async def _run(world: World, events: Sequence[Event], *flags: str) -> None:
    first, *others = events
    given = ["--event", first["event"], first["recipient_id"], json.dumps(first["data"])]
    lines = "".join(json.dumps(event) + "\n" for event in others)
    await asyncio.gather(_publish(world, *flags, *given), _publish(world, *flags, stdin=lines))


async def _publish(world: World, *arguments: str, stdin: str = "") -> None:
    # In a frozen application the executable is the command itself.
    frozen = hasattr(sys, "frozen")
    program = [sys.executable] if frozen else [sys.executable, "-P", "-m", "aionotify"]
    redis = {
        "url": _redis(world),
        "channel": _channel(world),
        "prefix": world.config.redis.prefix,
    }
    settings = [f"--redis.{name}={value}" for name, value in redis.items()]
    process = await asyncio.create_subprocess_exec(
        *(*program, "publish", *settings, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(stdin.encode())
    if process.returncode != 0:
        text = errors.decode(errors="replace").strip()
        raise NotPublished(f"aionotify publish exited with {process.returncode}: {text}")
