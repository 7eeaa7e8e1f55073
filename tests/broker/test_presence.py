"""Who is connected to any node."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.keys import Keys
from aionotify.broker.presence import Presence
from aionotify.config import RedisConfig
from aionotify.errors import BrokerUnavailable
from tests.harness import RedisServer

KEYS = Keys("p", "")


@contextlib.asynccontextmanager
async def directory_of(server: RedisServer) -> AsyncIterator[Presence]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    yield Presence(endpoint.commands("writes").execute, KEYS)
    await endpoint.close()


@contextlib.contextmanager
def subscribed(server: RedisServer, *channels: str) -> Iterator[redis.client.PubSub]:
    """A node's subscription, as far as Redis can tell."""
    with redis.Redis(port=server.port, protocol=2) as client, client.pubsub() as pubsub:
        pubsub.subscribe(*channels)
        for _ in channels:
            assert pubsub.get_message(timeout=5)
        yield pubsub


async def test_online_is_who_has_a_subscriber(redis_server: RedisServer) -> None:
    """On one node or several; braces in an id are no way to be somebody else."""
    channels = ("p:{a}", "p:{%7Ba%7D}")
    async with directory_of(redis_server) as directory:
        with subscribed(redis_server, *channels), subscribed(redis_server, "p:{a}"):
            found = await directory.online(["a", "b", "{a}", "a}"])
    assert found == {"a": True, "b": False, "{a}": True, "a}": False}


async def test_presence_of_nobody_is_nobody(redis_server: RedisServer) -> None:
    async with directory_of(redis_server) as directory:
        assert await directory.online([]) == {}


async def test_without_redis_nobody_can_be_asked_about(own_redis: RedisServer) -> None:
    own_redis.stop()
    async with directory_of(own_redis) as directory:
        with pytest.raises(BrokerUnavailable):
            await directory.online(["a"])
