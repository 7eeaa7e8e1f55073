"""Events that nobody was there for are handed on, by real nodes, whatever becomes of these."""

import asyncio
import json
from typing import Any

import redis

from aionotify.broker.publisher import Publisher
from tests.docs.snippets import arguments, snippet
from tests.docs.test_python import execute
from tests.harness import RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import metric, received, stream
from tests.webhook.receiver import receiving

STREAM = "mailer"
ON = {"away.stream": STREAM, "server.drain": 0}


def handed_on(server: RedisServer) -> list[dict[str, Any]]:
    """What the application finds in the stream."""
    with redis.Redis(port=server.port, decode_responses=True) as client:
        entries = [fields for _, fields in client.xrange(STREAM)]
    return [fields | {"event": json.loads(fields["event"])} for fields in entries]


def event(user: str, away: float, **more: Any) -> dict[str, Any]:
    return {"recipient_id": user, "aionotify": {"away": away, **more}}


async def test_the_lines_of_the_docs_have_an_event_handed_on(
    serve: Serve, own_redis: RedisServer
) -> None:
    line = snippet("docs/away.rst", "XRANGE mailer")
    publishing = snippet("docs/away.rst", "await publisher.publish(").replace("60", "0.1")
    await serve({**ON, "redis.url": own_redis.url})
    async with Publisher(own_redis.url) as publisher:
        await execute(publishing, {"publisher": publisher})
    await eventually(lambda: handed_on(own_redis))
    [(_, fields)] = own_redis.cli(*arguments(line)[1:])
    named = (
        fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    )
    assert list(named) == ["event_id", "recipient_id", "time", "event"]


async def test_an_event_is_handed_on_if_its_user_is_away_and_not_if_he_is_there(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**ON, "redis.url": own_redis.url})
    async with Publisher(own_redis.url) as publisher, stream(server, "42") as client:
        await client.wait_events(1)
        there = event("42", 1)
        await publisher.publish(there)
        # Clients are not told what was asked of aionotify.
        assert await received(client, 1) == [{"recipient_id": "42"}]
        published = await publisher.publish(event("43", 1, until="written"))
        await eventually(lambda: handed_on(own_redis))
        await eventually(lambda: own_redis.cli("KEYS", "aionotify:{*}:away*") == [])
        [told] = handed_on(own_redis)
        assert (told["recipient_id"], told["event_id"]) == ("43", published.event_id)
        assert told["event"]["aionotify"] == {"away": 1, "until": "written"}
        assert await metric(server, 'aionotify_handed_on_events_total{outcome="taken"}') == 1


async def test_who_comes_back_in_time_gets_the_event_and_nobody_else(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**ON, "redis.url": own_redis.url})
    async with Publisher(own_redis.url) as publisher:
        async with stream(server, "42") as client:
            await client.wait_events(1)
            cursor = client.events[-1].id
        await eventually(lambda: own_redis.cli("PUBSUB", "NUMSUB", "aionotify:{42}")[1] == 0)
        await publisher.publish(event("42", 3))
        await publisher.publish(event("43", 3))
        async with stream(server, "42", headers={"Last-Event-ID": cursor}) as client:
            assert await received(client, 1) == [{"recipient_id": "42"}]
            await eventually(lambda: handed_on(own_redis))
        assert [told["recipient_id"] for told in handed_on(own_redis)] == ["43"]


async def test_what_is_to_be_read_is_handed_on_though_it_was_written(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**ON, "redis.url": own_redis.url})
    async with Publisher(own_redis.url) as publisher, stream(server, "42") as client:
        await client.wait_events(1)
        await publisher.publish(event("42", 1, until="read"))
        assert await received(client, 1)
        await eventually(lambda: handed_on(own_redis))


async def test_nothing_is_forgotten_when_the_node_that_hands_on_is_killed(
    serve: Serve, own_redis: RedisServer
) -> None:
    """What it was about to take away may be handed on once more, and has the same event id."""
    nodes = [await serve({**ON, "redis.url": own_redis.url}) for _ in range(2)]
    async with Publisher(own_redis.url) as publisher:
        for number in range(200):
            await publisher.publish(event(f"user-{number}", 0.001 * (number + 1)))
        await eventually(lambda: len(handed_on(own_redis)) > 20)
        first = next(
            node for node in nodes if any(" hands on events" in line for line in node.logs)
        )
        await first.kill()
        for number in range(200, 300):
            await publisher.publish(event(f"user-{number}", 0.01))
        users = {f"user-{number}" for number in range(300)}
        await eventually(
            lambda: {told["recipient_id"] for told in handed_on(own_redis)} == users, timeout=60
        )
    ids = [told["event_id"] for told in handed_on(own_redis)]
    assert len(set(ids)) == 300
    assert len(ids) <= 300 + 100  # one portion


async def test_a_recalled_event_and_one_that_a_newer_one_replaced_are_not_handed_on(
    serve: Serve, own_redis: RedisServer
) -> None:
    async with Publisher(own_redis.url) as publisher:
        recalled = await publisher.publish(event("42", 1))
        assert await publisher.recall(recalled.event_id, "42")
        await publisher.publish(event("43", 1, collapse="likes"))
        newer = await publisher.publish(event("43", 1, collapse="likes"))
        await publisher.publish({"recipient_id": "44", "aionotify": {"collapse": "likes"}})
        last = await publisher.publish(event("45", 1.5))
        await serve({**ON, "redis.url": own_redis.url})
        await eventually(lambda: len(handed_on(own_redis)) > 1)
        await asyncio.sleep(0)
    assert [told["event_id"] for told in handed_on(own_redis)] == [newer.event_id, last.event_id]


async def test_types_wait_as_the_configuration_says(serve: Serve, own_redis: RedisServer) -> None:
    """However they were published, but for publishers of an application, which have their own."""
    types = ["order=0.5", "invoice=0.5 read"]
    server = await serve(
        {
            **ON,
            "redis.url": own_redis.url,
            "away.types": types,
            "publish.stream": True,
            "admin.publish_keys": ["key-that-is-long-enough"],
        }
    )
    with redis.Redis(port=own_redis.port) as client:
        client.xadd("aionotify:publish", {"event": '{"recipient_id":"1","event":"order"}'})
        client.xadd("aionotify:publish", {"event": '{"recipient_id":"2","event":"other"}'})
    async with stream(server, "3") as reader:
        await reader.wait_events(1)
        with redis.Redis(port=own_redis.port) as client:
            client.xadd("aionotify:publish", {"event": '{"recipient_id":"3","event":"invoice"}'})
            client.xadd("aionotify:publish", {"event": '{"recipient_id":"3","event":"order"}'})
        await received(reader, 2)
        await eventually(lambda: len(handed_on(own_redis)) == 2)
    told = [(each["recipient_id"], each["event"]["event"]) for each in handed_on(own_redis)]
    assert sorted(told) == [("1", "order"), ("3", "invoice")]


async def test_a_node_that_hands_nothing_on_asks_nothing_of_redis(
    serve: Serve, own_redis: RedisServer
) -> None:
    await serve({"redis.url": own_redis.url})
    async with Publisher(own_redis.url) as publisher:
        await publisher.publish(event("42", 0.01))
    assert own_redis.cli("EXISTS", "aionotify:away:lease") == 0


async def test_each_event_is_posted_to_a_webhook_until_it_is_taken(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Signed, under its event id; what the application refuses for good is kept with the reason."""
    async with receiving() as receiver, Publisher(own_redis.url) as publisher:
        receiver.answers = [503, 302, 410]
        await serve(
            {
                "redis.url": own_redis.url,
                "away.webhook": receiver.url,
                "webhook.secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "webhook.allow_http": True,
                "webhook.allow": ["127.0.0.0/8"],
                "server.drain": 0,
            }
        )
        refused = await publisher.publish(event("42", 0.01))
        await eventually(lambda: own_redis.cli("XLEN", "aionotify:away:refused") == 1)
        taken = await publisher.publish(event("43", 0.01))
        await eventually(lambda: not own_redis.cli("EXISTS", "aionotify:{43}:away"))
        posts = [(headers["webhook-id"], json.loads(body)) for headers, body in receiver.requests]
    assert [id for id, _ in posts] == [*[refused.event_id] * 3, taken.event_id]
    assert [body["recipient_id"] for _, body in posts] == ["42", "42", "42", "43"]
    assert posts[-1][1]["event"] == event("43", 0.01)
    with redis.Redis(port=own_redis.port, decode_responses=True) as client:
        [(_, letter)] = client.xrange("aionotify:away:refused")
    assert (letter["event_id"], letter["reason"]) == (refused.event_id, "it answered 410")
