"""Groups: what is published to one reaches who is in it, once, live and after any absence."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from aionotify import Identity, Publisher
from aionotify.broker.keys import Keys
from aionotify.events.event_id import id_at
from aionotify.events.group import GroupId, shard_of
from aionotify.web.services import Services
from tests.docs.snippets import snippet
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import ask, messages, received
from tests.integration.talk import publish as publish_plainly

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
        assert json.loads(messages(carol)[0].data) == {"recipient_id": "*", "n": 3}


async def test_an_event_that_reaches_a_user_over_several_ways_arrives_once(
    redis_server: RedisServer,
) -> None:
    """As the first of the receivers that the user is; and nobody learns of the others."""
    event = {"recipient_id": ["alice", "dave"], "group_id": ["a", "b", "c", "d"], "n": 1}
    async with (
        node(redis_server) as (url, _),
        member(url, "alice", "a", "b", "c", "d") as alice,
        member(url, "bob", "b", "d") as bob,
        member(url, "carol", "d") as carol,
    ):
        await publish(redis_server, event, {"group_id": ["a", "b", "c", "d"], "n": 2})
        for client in (alice, bob, carol):
            await expect(client, 1, 2)
        assert json.loads(messages(alice)[0].data) == {"recipient_id": "alice", "n": 1}
        assert json.loads(messages(bob)[0].data) == {"group_id": "b", "n": 1}
        assert json.loads(messages(carol)[0].data) == {"group_id": "d", "n": 1}


async def test_a_member_goes_on_at_another_node(redis_server: RedisServer) -> None:
    """It gets what it missed, once and in the order in which it was published, and then what comes,
    also what came over several ways.
    """
    groups = [f"group {number}" for number in range(12)]
    async with node(redis_server) as (one, _), node(redis_server) as (other, _):
        async with member(one, "alice", *groups) as client:
            await publish(redis_server, {"group_id": groups[0], "n": 0})
            await expect(client, 0)
        missed = [{"group_id": groups[n % 12], "n": n} for n in range(1, 150)]
        missed[7]["recipient_id"] = "alice"
        missed[20]["group_id"] = groups
        missed[21] = {"recipient_id": "*", "n": 22}
        missed[22]["group_id"] = "not hers"
        await publish(redis_server, *missed)
        seen_ = [n for n in range(1, 150) if n != 23]
        async with member(other, "alice", *groups, cursor=client.last_event_id) as again:
            await expect(again, *seen_)
            await publish(redis_server, {"group_id": groups[5], "n": 200})
            await expect(again, *seen_, 200)
            assert len(again.last_event_id) <= 128
        async with member(one, "alice", *groups, cursor=again.last_event_id) as last:
            await publish(redis_server, {"group_id": groups[6], "n": 201})
            await expect(last, 201)


async def test_what_a_group_keeps_no_longer_is_told(redis_server: RedisServer) -> None:
    async with node(redis_server, inbox={"max_events": 3}) as (url, _):
        async with member(url, "alice", "a", "b") as client:
            await publish(redis_server, {"group_id": "a", "n": 0}, {"group_id": "b", "n": 1})
            await expect(client, 0, 1)
        await publish(redis_server, *({"group_id": "a", "n": n} for n in range(2, 8)))
        async with member(url, "alice", "a", "b", cursor=client.last_event_id) as again:
            await expect(again, "gap: trimmed", 5, 6, 7)
        async with member(url, "bob", "b", cursor="") as other:
            await publish(redis_server, {"group_id": "b", "n": 8})
            await expect(other, 8)


async def test_a_gap_in_another_group_is_none(redis_server: RedisServer) -> None:
    async with node(redis_server, inbox={"max_events": 3}) as (url, _):
        async with member(url, "alice", "b") as client:
            await publish(redis_server, {"group_id": "b", "n": 0})
            await expect(client, 0)
        same = next(f"{n}" for n in range(100) if shard_of(f"{n}") == shard_of("b"))
        await publish(redis_server, *({"group_id": same, "n": n} for n in range(2, 8)))
        await publish(redis_server, {"group_id": "b", "n": 9})
        async with member(url, "alice", "b", cursor=client.last_event_id) as again:
            await expect(again, 9)


async def test_what_redis_has_lost_of_a_group_is_told_once(own_redis: RedisServer) -> None:
    async with node(own_redis) as (url, _), member(url, "alice", "a", "b") as client:
        await publish(own_redis, {"group_id": "a", "n": 0}, {"group_id": "b", "n": 1})
        await expect(client, 0, 1)
        own_redis.cli("FLUSHALL")
        await client.wait_for(lambda _: "gap: lost" in seen(client))
        await publish(own_redis, {"group_id": "b", "n": 2})
        await expect(client, 0, 1, "gap: lost", 2)


async def test_who_comes_to_a_group_begins_with_what_is_published_then(
    redis_server: RedisServer,
) -> None:
    """Whatever cursor the user comes with that had no group in that shard."""
    async with node(redis_server) as (url, _):
        async with member(url, "alice") as client:
            await publish(redis_server, {"recipient_id": "alice", "n": 0})
            await expect(client, 0)
        await publish(redis_server, {"group_id": "a", "n": 1}, {"recipient_id": "alice", "n": 2})
        async with member(url, "alice", "a", cursor=client.last_event_id) as again:
            await expect(again, 2)
            await publish(redis_server, {"group_id": "a", "n": 3})
            await expect(again, 2, 3)


async def test_an_event_for_a_group_of_before_and_one_that_is_new_is_not_lost(
    redis_server: RedisServer,
) -> None:
    """It is passed over only by who gets it by the group that comes first."""
    new = next(f"{n}" for n in range(100) if shard_of(f"{n}") != shard_of("b"))
    async with node(redis_server) as (url, _):
        async with member(url, "alice", "b") as client:
            await publish(redis_server, {"group_id": "b", "n": 0})
            await expect(client, 0)
        await publish(redis_server, {"group_id": [new, "b"], "n": 1})
        async with member(url, "alice", "b", new, cursor=client.last_event_id) as again:
            await expect(again, 1)


async def test_a_stream_is_given_groups_and_loses_them_while_it_is_open(
    redis_server: RedisServer,
) -> None:
    async with node(redis_server) as (url, services), member(url, "alice", "a") as client:
        [stream] = services.hub.streams_of("alice")
        groups = [f"group {number}" for number in range(8)]
        stream.regroup(frozenset(groups))
        await eventually(lambda: stream.live)
        await publish(redis_server, *({"group_id": each, "n": n} for n, each in enumerate(groups)))
        await expect(client, *range(8))
        stream.regroup(frozenset(groups[:1]))
        await publish(redis_server, *({"group_id": each, "n": n} for n, each in enumerate(groups)))
        await publish(redis_server, {"group_id": groups[0], "n": 9})
        await expect(client, *range(8), 0, 9)


async def test_an_ephemeral_event_reaches_the_members_that_are_there(
    redis_server: RedisServer,
) -> None:
    """However it is published; and each of them once."""
    event = {"recipient_id": "alice", "group_id": ["a", "b"], "n": 1}
    async with (
        node(redis_server) as (url, _),
        member(url, "alice", "a", "b") as alice,
        member(url, "bob", "a", "b") as bob,
    ):
        await publish(redis_server, event, ephemeral=True)
        await expect(alice, 1)
        await expect(bob, 1)
        publish_plainly(redis_server, event | {"n": 2})
        publish_plainly(redis_server, {"group_id": "b", "n": 3})
        await expect(alice, 1, 2, 3)
        await expect(bob, 1, 2, 3)


async def test_an_event_has_one_id_for_its_producer_and_all_members(
    redis_server: RedisServer,
) -> None:
    """Each copy has one; it is the same as in the answer to a request that published it."""
    async with (
        node(redis_server) as (url, _),
        member(url, "alice", "a") as alice,
        member(url, "bob", "b") as bob,
    ):
        body = json.dumps({"recipient_id": "bob", "group_id": ["a", "b"], "id": "k", "n": 1})
        answers = [await ask(url, "/publish", "POST", token=KEY, data=body.encode())] * 2
        answers.append(await ask(url, "/publish", "POST", token=KEY, data=body.encode()))
        for answer in answers:
            assert answer.status == 202
            assert answer.json["recipients"]["bob"]["online"] is True
            assert answer.json["groups"].keys() == {"a", "b"}
            assert "online" not in answer.json["groups"]["a"]
        assert answers[0].json["groups"]["a"]["event_id"] == str(id_at(await last_id(alice)))
        assert answers[0].json["recipients"]["bob"]["event_id"] == str(id_at(await last_id(bob)))
        assert answers[1].json == answers[2].json
        await publish(redis_server, {"recipient_id": "*", "n": 2})
        await expect(alice, 1, 2)
        await expect(bob, 1, 2)


async def last_id(client: SSEClient) -> str:
    await client.wait_for(lambda _: bool(messages(client)))
    return str(messages(client)[0].id)


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({"n": 1}, {"recipient_id": "is missing, and so is group_id: an event names one of"}),
        ({"group_id": None}, {"group_id": "must be a string, an integer or a list of them, not"}),
        ({"group_id": {"a": 1}}, {"group_id": "must be a string, an integer or a list"}),
        ({"group_id": ["a", True]}, {"group_id[1]": "must be a string or an integer, not"}),
        ({"group_id": []}, {"group_id": "must hold 1 to 100 groups, not 0"}),
        ({"group_id": [f"{n}" for n in range(101)]}, {"group_id": "must hold 1 to 100 groups"}),
        ({"group_id": "x" * 257}, {"group_id": "must be 1 to 256 characters, not 257"}),
        ({"group_id": ["a", "b\n"]}, {"group_id[1]": "must not contain control characters"}),
        ({"group_id": "*"}, {"group_id": 'must not be "*"'}),
        ({"recipient_id": "*", "group_id": "a"}, {"recipient_id": 'must not be "*" beside'}),
    ],
)
async def test_an_event_for_no_possible_group_is_refused(
    redis_server: RedisServer, event: dict[str, Any], fields: dict[str, str]
) -> None:
    async with node(redis_server) as (url, _):
        data = json.dumps(event).encode()
        answer = await ask(url, "/publish", "POST", token=KEY, data=data)
        assert (answer.status, answer.code) == (400, "invalid_event")
        found = answer.json["error"]["fields"]
        assert found.keys() == fields.keys()
        assert all(found[name].startswith(text) for name, text in fields.items())


async def test_a_group_may_have_any_name_that_a_user_may_have(redis_server: RedisServer) -> None:
    """Also one that looks like a key of ours, or like the user's."""
    names = ["{%g1}", "a}b{", "x:inbox", "alice", 42, "*:*", "%25", "ünï ☃", "positions", "-" * 256]

    class Fixed:
        async def authenticate(self, request: web.Request) -> Identity:
            return Identity("alice", groups=frozenset(map(str, names)))

    async with (
        embedded(redis_server.url, authenticator=Fixed()) as (url, _),
        SSEClient(f"{url}/notify", token="alice") as client,
    ):
        await publish(redis_server, *({"group_id": each, "n": n} for n, each in enumerate(names)))
        await expect(client, *range(len(names)))


async def test_a_node_hears_a_shard_only_while_it_has_a_group_in_it(own_redis: RedisServer) -> None:
    channel = Keys("aionotify").live(GroupId("a"))

    def listeners() -> int:
        return int(own_redis.cli("PUBSUB", "NUMSUB", channel)[1])

    async with node(own_redis) as (url, _):
        async with member(url, "alice"):
            assert listeners() == 0
        async with member(url, "bob", "a", "b"):
            await eventually(lambda: listeners() == 1)
        await eventually(lambda: listeners() == 0)


async def test_a_group_whose_inbox_cannot_be_read_keeps_no_other_waiting(
    own_redis: RedisServer,
) -> None:
    same = next(f"{n}" for n in range(100) if shard_of(f"{n}") == shard_of("a"))
    async with node(own_redis) as (url, _):
        async with member(url, "alice", "a", same) as client:
            await publish(own_redis, {"group_id": "a", "n": 0})
            await expect(client, 0)
        own_redis.cli("SET", Keys("aionotify").inbox(GroupId(same)), "no list", "EX", 60)
        await publish(own_redis, {"group_id": "a", "n": 1})
        async with member(url, "alice", "a", same, cursor=client.last_event_id) as again:
            await expect(again, "gap: lost", 1)


async def test_entries_added_with_xadd_reach_groups(own_redis: RedisServer) -> None:
    async with (
        node(own_redis, publish={"stream": True}) as (url, _),
        member(url, "alice", "a", "b") as alice,
    ):
        for n in range(3):
            event = json.dumps({"recipient_id": "bob", "group_id": ["b", "a"], "n": n})
            own_redis.cli("XADD", "aionotify:publish", "*", "event", event)
        await expect(alice, 0, 1, 2)
        await eventually(lambda: own_redis.cli("XLEN", "aionotify:publish") == 0)


async def test_a_key_publishes_only_to_groups_that_begin_with_its_prefix(
    redis_server: RedisServer,
) -> None:
    key = {"key": KEY, "rights": ["publish"], "recipients": "shop:"}
    admin = {"publish_keys": [key]}
    async with embedded(redis_server.url, authenticator=TokenHasGroups(), admin=admin) as (url, _):
        for group, status in (("shop:7", 202), ("bank:7", 403)):
            event = json.dumps({"recipient_id": "shop:1", "group_id": group}).encode()
            assert (await ask(url, "/publish", "POST", token=KEY, data=event)).status == status


async def test_the_page_about_groups_says_what_works(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    event = snippet("docs/groups.rst", "task.done")
    code: dict[str, Any] = {}
    exec(snippet("docs/groups.rst", "from aionotify import Publisher"), code)
    async with (
        node(redis_server) as (url, _),
        member(url, "42", "team:7") as one,
        member(url, "43", "team:7") as other,
        Publisher(redis_server.url) as publisher,
    ):
        await publisher.publish(event)
        await code["announce"](publisher)
        for client in (one, other):
            await received(client, 2)
        assert messages(one)[0].data == event
        [online, event_id] = capsys.readouterr().out.split()
        assert (online, event_id) == ("True", str(id_at(messages(other)[1].id)))
        shown = {"group_id": "team:7", "id": "task-12", "data": "done"}
        assert json.loads(messages(other)[1].data) == shown
        assert json.loads(messages(one)[1].data)["recipient_id"] == "42"
