"""Events that expire, collapse into newer ones, and are recalled, from producer to client."""

import json
from typing import Any

import pytest

from aionotify import Publisher, SyncPublisher
from tests.docs.snippets import snippet
from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.api import KEY, SCOPED, SETTINGS, Api
from tests.integration.conftest import Serve
from tests.integration.talk import ask, command, messages, metric, publish, received, stream

LIKES = {"collapse": "likes"}
FOREVER = {"expires_in": 3600}


def event(data: Any, options: object = None, recipient: object = "42") -> dict[str, Any]:
    given = {} if options is None else {"aionotify": options}
    return {"recipient_id": recipient, "data": data} | given


def resumed(server: NotifyServer, cursor: str) -> SSEClient:
    client = stream(server, "42")
    client.last_event_id = cursor
    return client


def data(client: SSEClient) -> list[Any]:
    return [json.loads(each.data)["data"] for each in messages(client)]


def gaps(client: SSEClient) -> list[str]:
    return [each.data for each in client.events if each.event == "aionotify.gap"]


def recalled(client: SSEClient) -> list[Any]:
    found = [each for each in client.events if each.event == "aionotify.recalled"]
    return [json.loads(each.data) for each in found]


async def until(client: SSEClient, last: Any) -> None:
    await client.wait_for(lambda _: last in data(client))


async def told(client: SSEClient, count: int) -> None:
    await client.wait_for(lambda _: len(recalled(client)) == count)


async def now(server: NotifyServer) -> str:
    """The cursor of a stream that begins now."""
    async with stream(server, "42") as client:
        await client.wait_events(1)
        return client.last_event_id


# --- what is taken, and what reaches clients --------------------------------------------------


async def test_the_member_with_options_reaches_no_client_but_for_collapse(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Whichever way it was published, and whether it is live or read."""
    server = await serve({**SETTINGS, "publish.stream": True, "redis.url": own_redis.url})
    both = {"expires_in": 60, **LIKES}
    cursor = await now(server)
    argv = ("publish", "42", '"cli"', "--redis.url", own_redis.url)
    async with stream(server, "42") as client:
        await client.wait_events(1)
        await Api(server).publish(event("http", both), event("list", both, ["42", "7"]))
        await received(client, 2)
        async with Publisher(own_redis.url) as publisher:
            await publisher.publish(event("publisher", both))
            await publisher.publish(event("ephemeral", LIKES), ephemeral=True)
        await received(client, 4)
        async with command(*argv, "--expires-in", "60", "--collapse", "likes") as process:
            assert await process.wait() == 0
        await received(client, 5)
        added = json.dumps(event("xadd", both))
        own_redis.cli("XADD", "aionotify:publish", "*", "event", added)
        await received(client, 6)
        publish(own_redis, event("shared", both))
        publish(own_redis, event("plain", {"expires_in": 60}))
        seen = await received(client, 8)
    assert [each.pop("data") for each in seen] == [
        *("http", "list", "publisher", "ephemeral", "cli", "xadd", "shared", "plain")
    ]
    assert seen[:-1] == [{"recipient_id": "42", "aionotify": LIKES}] * 7
    assert seen[-1] == {"recipient_id": "42"}
    async with resumed(server, cursor) as client:
        assert await received(client, 1) == [event("xadd", LIKES)]


async def test_the_events_in_the_docs_are_taken(serve: Serve) -> None:
    server = await serve(SETTINGS)
    texts = snippet("docs/producers.rst", "liked:7"), snippet("docs/protocol.rst", "likes:7")
    async with stream(server, "42") as client:
        await client.wait_events(1)
        await Api(server).publish(*map(json.loads, texts))
        await client.wait_events(3)
    keys = [json.loads(each.data)["aionotify"] for each in messages(client)]
    assert keys == [{"collapse": "liked:7"}, {"collapse": "likes:7"}]


async def test_an_option_that_there_is_not_is_named_wherever_events_are_taken(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**SETTINGS, "publish.stream": True, "redis.url": own_redis.url})
    bad, field = json.dumps(event(1, {"foo": 1})).encode(), "aionotify.foo"
    reason = "is no option; there are expires_in, collapse, away, until"
    answer = await ask(server, "/publish", "POST", headers=by(KEY), data=bad)
    assert (answer.status, answer.json["error"]["fields"]) == (400, {field: reason})
    lines = {**by(KEY), "Accept": "application/x-ndjson"}
    answer = await ask(server, "/publish", "POST", headers=lines, data=bad)
    assert json.loads(answer.body)["error"]["fields"] == {field: reason}
    answer = await ask(
        server, "/publish?ephemeral=true", "POST", headers=by(KEY),
        data=json.dumps(event(1, FOREVER)).encode(),
    )  # fmt: skip
    told = {"aionotify.expires_in": "is for durable events only"}
    assert (answer.status, answer.json["error"]["fields"]) == (400, told)
    with SyncPublisher(own_redis.url) as publisher:
        [result] = publisher.publish_many([bad])
        assert str(result) == f"{field}: {reason}"
    own_redis.cli("DEL", "aionotify:publish:rejected")
    own_redis.cli("XADD", "aionotify:publish", "*", "event", bad)
    await eventually(lambda: own_redis.cli("XLEN", "aionotify:publish:rejected") == 1)
    [(_, fields)] = own_redis.cli("XRANGE", "aionotify:publish:rejected", "-", "+")
    assert f"{field}: {reason}" in str(fields)
    async with stream(server, "42") as client:
        await client.wait_events(1)
        publish(own_redis, bad)
        publish(own_redis, event("good"))
        assert await received(client, 1) == [event("good")]
    assert await metric(server, "aionotify_events_dropped_total", reason="invalid") == 1


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--expires-in", "x"], "argument --expires-in: invalid float value"),
        (["--expires-in", "0"], "aionotify.expires_in: must be more than 0"),
        (["--expires-in", "nan"], "aionotify.expires_in: must be a number"),
        (["--collapse", ""], "aionotify.collapse: must be 1 to 128 characters, not 0"),
        (["--expires-in", "5", "--ephemeral"], "--expires-in is for durable events only"),
    ],
)
async def test_the_command_says_what_is_wrong_with_an_option(
    redis_server: RedisServer, argv: list[str], text: str
) -> None:
    async with command("publish", "42", "1", *argv, "--redis.url", redis_server.url) as process:
        _, stderr = await process.communicate()
    assert process.returncode != 0
    assert text in stderr.decode()


def by(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- expires_in -------------------------------------------------------------------------------


async def test_an_event_that_is_too_old_is_passed_over_at_resume(serve: Serve) -> None:
    """It is no gap; those around it come, and a cursor at it is as good as any."""
    server = await serve(SETTINGS)
    cursor = await now(server)
    soon = {"expires_in": 0.2}
    async with stream(server, "42") as client:
        await client.wait_events(1)
        await Api(server).publish(event(1), event(2, soon), event(3, FOREVER), event(4, soon, "*"))
        await received(client, 4)
        cursors = [each.id for each in messages(client)]
        at_second, at_last = cursors[1], cursors[3]
    assert data(client) == [1, 2, 3, 4]

    async def seen(cursor: str) -> list[Any]:
        async with resumed(server, cursor) as client:
            await Api(server).publish(event("end"))
            await until(client, "end")
            assert gaps(client) == []
            return data(client)

    async def is_over() -> bool:
        return 2 not in await seen(cursor)

    while not await is_over():
        pass
    first = await seen(cursor)
    assert [each for each in first if each != "end"] == [1, 3]
    assert [each for each in await seen(at_second) if each != "end"] == [3]
    assert set(await seen(at_last)) == {"end"}
    assert await metric(server, "aionotify_events_dropped_total", reason="expired") > 0


async def test_an_event_expires_by_the_clock_of_redis(
    serve: Serve, redis_server: RedisServer
) -> None:
    """However old it is by that, it is, and whatever time it is at the node."""
    server = await serve(SETTINGS)
    cursor = await now(server)
    [answer] = await Api(server).publish(event("old", FOREVER))
    [entry] = redis_server.cli("LRANGE", "aionotify:{42}:inbox", -1, -1)
    position, previous, text = entry.split(" ", 2)
    assert answer["event_id"].endswith(f".{int(position):014x}")
    for age, expected in ((3590, ["old", "end"]), (3601, ["end"])):
        aged = int(position) - age * 1_000_000 // 2 * 2
        redis_server.cli("DEL", "aionotify:{42}:inbox")
        begun = int(previous) - 2 * 3_600_000_000
        redis_server.cli("RPUSH", "aionotify:{42}:inbox", f"{aged} {begun | 1} {text}")
        parts = cursor.split(".")
        parts[3] = f"{aged - 1:014x}"
        async with resumed(server, ".".join(parts)) as client:
            await Api(server).publish(event("end"))
            await until(client, "end")
            assert (data(client), gaps(client)) == (expected, [])


# --- collapse ---------------------------------------------------------------------------------


async def test_of_events_with_one_key_only_the_newest_is_there_for_who_comes_back(
    serve: Serve,
) -> None:
    """Who is there gets each. A cursor at one that was replaced is no gap."""
    server = await serve(SETTINGS)
    cursor = await now(server)
    async with stream(server, "42") as client:
        await client.wait_events(1)
        await Api(server).publish(
            event("1 like", LIKES), event("a"), event("2 likes", LIKES), event("3 likes", LIKES)
        )
        await received(client, 4)
        assert data(client) == ["1 like", "a", "2 likes", "3 likes"]
        cursors = [each.id for each in messages(client)]
    for at, expected in (
        (cursor, ["a", "3 likes"]),
        (cursors[0], ["a", "3 likes"]),
        (cursors[1], ["3 likes"]),
        (cursors[2], ["3 likes"]),
    ):
        async with resumed(server, at) as client:
            await until(client, expected[-1])
            assert (data(client), gaps(client)) == (expected, [])


async def test_a_key_is_of_one_inbox(serve: Serve) -> None:
    server = await serve(SETTINGS)
    cursor = await now(server)
    await Api(server).publish(
        event("mine", LIKES), event("all", LIKES, "*"), event("not mine", LIKES, "7")
    )
    async with resumed(server, cursor) as client:
        await received(client, 2)
        assert data(client) == ["mine", "all"]


# --- recall -----------------------------------------------------------------------------------


async def test_a_recalled_event_is_told_to_open_streams_and_is_there_for_nobody_else(
    serve: Serve,
) -> None:
    """On every node, and also if it was for everyone."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    cursor = await now(one)
    async with (
        stream(one, "42") as here,
        stream(other, "42") as there,
        stream(one, "7") as stranger,
    ):
        for client in (here, there, stranger):
            await client.wait_events(1)
        own, kept, for_all = await Api(one).publish(event(1), event(2), event(3, None, "*"))
        for client in (here, there):
            await received(client, 3)
        await received(stranger, 1)
        ids = own["event_id"], for_all["event_id"]
        assert (await Api(one).recall(ids[0], recipient_id="42")) == (204, None)
        assert (await Api(other).recall(ids[1])).status == 204
        notices = [{"reason": "recalled", "event_id": each} for each in ids]
        for client in (here, there):
            await told(client, 2)
            assert recalled(client) == notices
        await told(stranger, 1)
        assert recalled(stranger) == notices[1:]
        last = messages(here)[-1].id
    for at, expected in ((cursor, [2, "end"]), (last, ["end"])):
        async with resumed(other, at) as client:
            await Api(one).publish(event("end"))
            await until(client, "end")
            assert (data(client)[: len(expected)], gaps(client), recalled(client)) == (
                *(expected, [], []),
            )
            assert set(data(client)[len(expected) - 1 :]) == {"end"}
    assert kept["event_id"] not in ids


async def test_who_recalls_is_told_what_is_wrong(serve: Serve) -> None:
    other = "presence-key-0123456789"
    keys = [KEY, {"key": SCOPED, "recipients": "shop:"}, {"key": other, "rights": ["presence"]}]
    server = await serve({"admin.publish_keys": keys})
    api = Api(server)
    own, for_all, shop = await api.publish(event(1), event(2, None, "*"), event(3, None, "shop:1"))
    own_id, all_id, shop_id = own["event_id"], for_all["event_id"], shop["event_id"]
    elsewhere = f"{own_id.partition('.')[0]}.00000000000002"

    async def refused(by: Api, event_id: str, **params: str) -> tuple[int, Any]:
        status, body = await by.recall(event_id, **params)
        error = body["error"]
        return status, error.get("fields") or error["code"]

    missing = {"recipient_id": "in the query is missing"}
    stranger = {"recipient_id": "is not the recipient in whose inbox the event is"}
    form = {"event_id": "must be <mark>.<position>, as it was answered"}
    assert await refused(api, own_id) == (400, missing)
    assert await refused(api, own_id, recipient_id="7") == (400, stranger)
    assert await refused(api, own_id, recipient_id="*") == (400, stranger)
    assert await refused(api, all_id, recipient_id="42") == (400, stranger)
    assert await refused(api, "nonsense", recipient_id="42") == (400, form)
    assert await refused(api, own_id + "\n", recipient_id="42") == (400, form)
    assert await refused(api, "all.x") == (400, form)
    assert (await refused(api, own_id, recipient_id=""))[0] == 400
    scoped = Api(server, SCOPED)
    assert await refused(scoped, own_id, recipient_id="42") == (403, "forbidden")
    assert await refused(scoped, all_id) == (403, "forbidden")
    assert await refused(Api(server, other), own_id, recipient_id="42") == (403, "forbidden")
    assert await refused(Api(server, None), own_id, recipient_id="42") == (
        *(403, "credentials_missing"),
    )
    assert await refused(api, elsewhere, recipient_id="42") == (404, "event_not_found")
    assert (await scoped.recall(shop_id, recipient_id="shop:1")).status == 204
    assert (await api.recall(own_id, recipient_id="42")).status == 204
    assert await refused(api, own_id, recipient_id="42") == (404, "event_not_found")
    assert (await api.recall(all_id, recipient_id="*")).status == 204
