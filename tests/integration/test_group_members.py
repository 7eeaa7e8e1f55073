"""Whoever is put in a group gets its events from then on, and whoever is taken out gets no more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aionotify import Publisher
from aionotify.broker.keys import Keys
from aionotify.events.group import GroupId
from aionotify.events.page import Page
from tests.auth.jwt_tokens import claims, forge
from tests.harness import MainHost, RedisServer, SSEClient, TcpProxy, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, messages, received, stream
from tests.integration.test_memberships import Node, Nodes, nodes

__all__ = ("nodes",)  # a fixture

GROUP = "team:7"


@pytest.fixture
async def publisher(redis_server: RedisServer) -> AsyncIterator[Publisher]:
    async with Publisher(redis_server.url) as made:
        yield made


def event(n: int, **more: Any) -> dict[str, Any]:
    return {"group_id": GROUP, "n": n, **more}


def numbers(client: SSEClient) -> list[int]:
    return [json.loads(each.data)["n"] for each in messages(client)]


async def got(client: SSEClient, n: int) -> None:
    """Wait until a client has got an event."""
    await client.wait_for(lambda _: n in numbers(client))


async def test_whoever_is_put_in_gets_the_events_from_then_on(
    nodes: Nodes, publisher: Publisher
) -> None:
    """On every node, and nobody else. What was published shortly before may come, too."""
    one, other = await nodes(), await nodes()
    async with (
        stream(one.url, "42") as here,
        stream(other.url, "42") as there,
        stream(other.url, "43") as nobody,
    ):
        await publisher.publish(event(0))
        assert await one.change("PUT", GROUP, "42") == (204, None)
        await eventually(lambda: one.groups("42") == other.groups("42") == [{GROUP}])
        await publisher.publish(event(1))
        await publisher.publish({"recipient_id": ["42", "43"], "n": 2})
        for client in (here, there):
            await got(client, 2)
            assert numbers(client)[-2:] == [1, 2]
        await received(nobody, 1)
        assert numbers(nobody) == [2]


async def test_no_event_that_is_published_after_a_deletion_was_answered_is_written(
    nodes: Nodes, publisher: Publisher
) -> None:
    """Under load, to streams on every node; and whoever stays in the group misses nothing."""
    one, other = await nodes(), await nodes()
    last = 0

    async def publish_on() -> None:
        nonlocal last
        while True:
            last += 1
            await publisher.publish(event(last))

    for user in ("42", "43"):
        await one.change("PUT", GROUP, user)
    async with (
        stream(one.url, "42") as here,
        stream(other.url, "42") as there,
        stream(other.url, "43") as stays,
    ):
        publishing = asyncio.create_task(publish_on())
        for client in (here, there, stays):
            await received(client, 20)
        assert await one.change("DELETE", GROUP, "42") == (204, None)
        answered = last + 1
        await eventually(lambda: last > answered + 50)
        publishing.cancel()
        await asyncio.wait({publishing})
        await publisher.publish({"recipient_id": ["42", "43"], "n": 0})
        for client in (here, there):
            await got(client, 0)
            found = numbers(client)
            assert found[:-1] == list(range(1, len(found)))
            assert len(found) - 1 <= answered
        await got(stays, 0)
        assert [n for n in numbers(stays) if 0 < n < last] == list(range(1, last))


async def test_a_node_that_was_cut_off_writes_nothing_of_a_group_that_was_taken_away_meanwhile(
    nodes: Nodes, redis_server: RedisServer, publisher: Publisher
) -> None:
    """Neither what its streams have missed nor what comes, however long it takes to learn that."""
    one = await nodes()
    for user in ("42", "43"):
        await one.change("PUT", GROUP, user)
    async with TcpProxy(redis_server.port) as proxy:
        deaf = await nodes(proxy.url)
        async with (
            stream(deaf.url, "42") as out,
            stream(deaf.url, "43") as stays,
            stream(deaf.url, "44") as ungrouped,
        ):
            await publisher.publish(event(1))
            for client in (out, stays):
                await got(client, 1)
            await proxy.refuse()
            await eventually(lambda: deaf.services.subscriber.problem is not None)
            assert await one.change("DELETE", GROUP, "42") == (204, None)
            await publisher.publish(event(2))
            learned = _learn_late(deaf)
            await proxy.restore()
            await eventually(lambda: deaf.services.subscriber.problem is None)
            await eventually(lambda: _is_heard(redis_server))
            await publisher.publish(event(3), ephemeral=True)
            await publisher.publish(event(4))
            await publisher.publish({"recipient_id": "44", "n": 5})
            await got(ungrouped, 5)
            learned.set()
            await publisher.publish({"recipient_id": ["42", "43"], "n": 6})
            for client in (out, stays):
                await got(client, 6)
            assert numbers(out) == [1, 6]
            assert numbers(stays) == [1, 2, 4, 6]


def _is_heard(redis: RedisServer) -> bool:
    """Whether a node subscribes to the shard of the group."""
    channel = Keys("aionotify").live(GroupId(GROUP))
    return int(redis.cli("PUBSUB", "NUMSUB", channel)[1]) > 0


async def test_what_is_read_while_a_user_is_taken_out_of_a_group_is_not_written(
    nodes: Nodes, publisher: Publisher
) -> None:
    """The page with its events was on its way when the deletion was answered."""
    one = await nodes()
    await one.change("PUT", GROUP, "42")
    async with stream(one.url, "42") as client:
        await publisher.publish(event(1))
        await got(client, 1)
    await publisher.publish(event(2))
    asked, go_on = asyncio.Event(), asyncio.Event()
    inbox = one.services.inbox
    read = inbox.read_groups

    async def held(*args: Any) -> Page:
        page: Page = await read(*args)
        asked.set()
        await go_on.wait()
        return page

    inbox.read_groups = lambda *args: asyncio.ensure_future(held(*args))
    async with stream(one.url, "42", f"?last_event_id={client.last_event_id}") as again:
        await asked.wait()
        assert await one.change("DELETE", GROUP, "42") == (204, None)
        go_on.set()
        await publisher.publish({"recipient_id": "42", "n": 3})
        await got(again, 3)
        assert numbers(again) == [3]


async def test_a_stream_that_comes_back_without_a_group_gets_nothing_of_it(
    nodes: Nodes, publisher: Publisher
) -> None:
    """Not even what was published while its user was in it."""
    one = await nodes()
    await one.change("PUT", GROUP, "42")
    async with stream(one.url, "42") as client:
        await publisher.publish(event(1))
        await got(client, 1)
    await publisher.publish(event(2))
    await one.change("DELETE", GROUP, "42")
    async with stream(one.url, "42", f"?last_event_id={client.last_event_id}") as again:
        await publisher.publish({"recipient_id": "42", "n": 3})
        await got(again, 3)
        assert numbers(again) == [3]


def _learn_late(node: Node) -> asyncio.Event:
    """Have a node read memberships no sooner than the event that is returned is set."""
    learned, store = asyncio.Event(), node.services.membership_store
    read = store.groups_of

    async def late(user_id: str) -> frozenset[str]:
        await learned.wait()
        return await read(user_id)

    store.groups_of = late  # type: ignore[method-assign,assignment]
    return learned


async def test_a_revalidation_that_takes_a_group_away_ends_its_events(
    nodes: Nodes, publisher: Publisher
) -> None:
    one = await nodes(auth={"revalidate": 1})
    one.granting.groups["42"] = {GROUP, "other"}
    async with stream(one.url, "42") as client:
        await publisher.publish(event(1))
        await received(client, 1)
        one.granting.groups["42"] = {"other"}
        await eventually(lambda: one.groups("42") == [{"other"}])
        await publisher.publish(event(2))
        await publisher.publish({"group_id": "other", "n": 3})
        await received(client, 2)
        assert numbers(client) == [1, 3]


async def test_a_stream_with_a_part_of_the_groups_gets_the_events_of_that_alone(
    nodes: Nodes, publisher: Publisher
) -> None:
    """And those of its user."""
    one = await nodes()
    one.granting.groups["42"] = {GROUP, "other"}
    async with stream(one.url, "42", "?groups=other") as client:
        await publisher.publish(event(1))
        await publisher.publish({"group_id": "other", "n": 2})
        await publisher.publish({"recipient_id": "42", "n": 3})
        await received(client, 2)
        assert numbers(client) == [2, 3]


async def test_a_real_node_goes_by_the_groups_of_the_main_hosts_answer(
    serve: Serve, main_host: MainHost, publisher: Publisher
) -> None:
    """And by those of the next one, when it is asked again."""
    main_host.answers = {"token-42": {"user_id": 42, "groups": [7, "other"]}}
    server = await serve({"auth.revalidate": 1, "auth.main_host.cache_ttl": 0})
    async with stream(server, "42") as client:
        await publisher.publish({"group_id": 7, "n": 1})
        await got(client, 1)
        main_host.answers = {"token-42": {"user_id": 42, "groups": ["other", "new"]}}

        async def has_changed() -> bool:
            await publisher.publish({"group_id": "new", "n": 2})
            return 2 in numbers(client)

        await eventually(has_changed)
        await publisher.publish({"group_id": 7, "n": 3})
        await publisher.publish({"group_id": "other", "n": 4})
        await got(client, 4)
        assert 3 not in numbers(client)
    main_host.answers = {"token-42": {"user_id": 42, "groups": ["a", "*"]}}
    other = await serve({"auth.main_host.cache_ttl": 0})
    refused = await ask(other, token="token-42")
    assert (refused.status, refused.code) == (502, "auth_failed")


async def test_a_real_node_goes_by_the_groups_of_a_jwt(serve: Serve, publisher: Publisher) -> None:
    secret = "a shared secret of 32 characters"
    server = await serve(
        {
            "auth.method": "jwt",
            "auth.jwt.key": secret,
            "auth.jwt.algorithms": ["HS256"],
            "auth.jwt.groups_claim": "teams",
        }
    )

    def token(teams: object) -> str:
        return forge({"alg": "HS256"}, claims(sub="42", teams=teams), secret.encode())

    async with SSEClient(f"{server.url}/notify", token=token([7, "other"])) as client:
        await publisher.publish({"group_id": "7", "n": 1})
        await got(client, 1)
    refused = await ask(server, token=token("other"))
    assert (refused.status, refused.code) == (401, "invalid_token")
    assert refused.json["error"]["message"] == "the groups are not a list"
