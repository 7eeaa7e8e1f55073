"""Groups: what is published to one reaches who is in it, once, live and after any absence."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from aionotify import Identity, Publisher
from aionotify.web.services import Services
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient
from tests.integration.talk import messages

KEY = "publisher-key-0123456789"
KEYS: dict[str, Any] = {"admin": {"publish_keys": [KEY]}}


class TokenHasGroups:
    """An authenticator of the application's own: ``Bearer alice team:7 team:8``."""

    async def authenticate(self, request: web.Request) -> Identity:
        user, *groups = request.headers["Authorization"].removeprefix("Bearer ").split("+")
        return Identity(user, groups=frozenset(groups))


@asynccontextmanager
async def node(redis: RedisServer, **sections: Any) -> AsyncIterator[tuple[str, Services]]:
    async with embedded(redis.url, authenticator=TokenHasGroups(), **KEYS, **sections) as found:
        yield found


def member(url: str, user: str, *groups: str, cursor: str = "") -> SSEClient:
    client = SSEClient(f"{url}/notify", token="+".join((user, *groups)))
    client.last_event_id = cursor
    return client


def seen(client: SSEClient) -> list[Any]:
    """The number of each event, and ``gap: <reason>`` for each gap."""
    found: list[Any] = []
    for event in client.events:
        content = json.loads(event.data)
        if event.event == "aionotify.gap":
            found.append(f"gap: {content['reason']}")
        elif event.event == "message":
            found.append(content["n"])
    return found


async def expect(client: SSEClient, *events: Any) -> None:
    await client.wait_for(lambda _: len(seen(client)) >= len(events))
    assert seen(client) == list(events)


async def publish(
    redis: RedisServer, *events: dict[str, Any], ephemeral: bool = False
) -> list[Any]:
    async with Publisher(redis.url) as publisher:
        return await publisher.publish_many(events, ephemeral=ephemeral)


async def test_an_event_reaches_whoever_is_in_its_group(redis_server: RedisServer) -> None:
    async with (
        node(redis_server) as (url, _),
        member(url, "alice", "team:7", "team:8") as alice,
        member(url, "bob", "team:7") as bob,
        member(url, "carol") as carol,
    ):
        await publish(
            redis_server,
            {"group_id": "team:7", "n": 1},
            {"group_id": ["team:8", "team:9"], "n": 2},
            {"recipient_id": "*", "n": 3},
        )
        await expect(alice, 1, 2, 3)
        await expect(bob, 1, 3)
        await expect(carol, 3)
        assert json.loads(messages(alice)[1].data) == {"group_id": "team:8", "n": 2}
