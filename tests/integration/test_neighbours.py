"""Installations that share one Redis: what keeps them apart, and what is said if nothing does."""

import asyncio
import json
import sys
from functools import partial

import pytest
from aiohttp import web

import aionotify
from aionotify.cli.check import check
from aionotify.config import Config, InboxConfig
from tests.embedded import config, served
from tests.harness import MainHost, NotifyServer, RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, received, stream

KEY = "publisher-key-0123456789"
KEYS = {"admin.publish_keys": [KEY]}


def in_database(redis: RedisServer, number: int) -> dict[str, object]:
    return {**KEYS, "redis.url": f"redis://127.0.0.1:{redis.port}/{number}"}


async def publish(server: NotifyServer, recipient: str, data: object) -> bool:
    """Return whether the recipient is said to be online."""
    event = json.dumps({"recipient_id": recipient, "data": data}).encode()
    answer = await ask(server, "/publish", "POST", token=KEY, data=event)
    assert answer.status == 202
    return bool(answer.json["online"])


async def test_those_in_two_databases_share_no_event_no_presence_and_no_revocation(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Not even a plain PUBLISH, which is the one thing that names no database."""
    one, other = [await serve(in_database(redis_server, number)) for number in (0, 1)]
    async with stream(one, "42") as alice, stream(other, "42") as twin, stream(other, "7") as own:
        assert (await ask(one, "/streams/7", "DELETE", token=KEY)).json == {"nodes": 1}
        for number, server in enumerate((one, other)):
            channel = "push_notifications" + ("@1" if number else "")
            redis_server.cli("PUBLISH", channel, json.dumps({"recipient_id": "*", "data": number}))
            assert await publish(server, "42", number)
            assert await publish(server, "*", number)
        assert not await publish(one, "7", "to nobody")
        assert (await ask(one, "/presence?recipient_id=7", token=KEY)).json == {"7": False}
        assert (await ask(other, "/presence?recipient_id=7", token=KEY)).json == {"7": True}
        for client, number in ((alice, 0), (twin, 1)):
            events = await received(client, 3)
            assert [event["data"] for event in events] == [number] * 3
        assert [event["data"] for event in await received(own, 2)] == [1, 1]
        assert (await ask(other, "/streams/7", "DELETE", token=KEY)).json == {"nodes": 1}
        assert await own.wait_end() == "complete"
        assert alice.end is twin.end is None
    for server in (one, other):
        assert (await ask(server, "/readyz")).json["checks"]["settings"] == {"ok": True}


async def test_all_who_publish_find_the_names_of_another_database(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    """The command, durably and not, and the publisher of an application."""
    url = f"redis://127.0.0.1:{redis_server.port}/2"
    app = web.Application()
    aionotify.setup(app, config(url, auth={"main_host": {"url": main_host.url}}))
    async with served(app) as server, stream(server, "42") as client:
        await app[aionotify.PUBLISHER].publish({"recipient_id": "42", "data": 0})
        for number, flags in ((1, []), (2, ["--ephemeral"])):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "aionotify", "publish", "42", str(number)),
                *("--redis.url", url, *flags),
            )
            assert await process.wait() == 0
        events = await received(client, 3)
        assert [event["data"] for event in events] == [0, 1, 2]


OTHERS = [
    ({"auth.main_host.path": "/v2/"}, "somebody identifies users by {host}/v2/, and this node by"),
    ({"redis.channel": "mine"}, "somebody has redis.channel mine, and this node push_notif"),
    ({"inbox.max_events": 5}, "somebody keeps 5 events for 604800 s, and this node 100 for"),
    ({"inbox.retention": 60}, "somebody keeps 100 events for 60 s, and this node 100 for 604800"),
    ({"redis.prefix": "staging"}, "1 more listen on push_notifications than nodes of this prefix"),
]


def is_said(server: NotifyServer, message: str) -> bool:
    return any(message in line for line in server.logs)


@pytest.mark.parametrize(("difference", "told"), OTHERS, ids=lambda value: next(iter(value), ""))
async def test_another_installation_under_the_same_names_is_told_by_all_and_stops_nobody(
    serve: Serve,
    redis_server: RedisServer,
    main_host: MainHost,
    difference: dict[str, object],
    told: str,
) -> None:
    """In readiness, in the log, and by ``aionotify check``."""
    told = told.format(host=main_host.url)
    one = await serve()
    assert (await ask(one, "/readyz")).json["checks"]["settings"] == {"ok": True}
    other = await serve(difference)

    async def is_told(server: NotifyServer, reason: str) -> bool:
        answer = await ask(server, "/readyz")
        assert answer.status == 200
        return reason in answer.json["checks"]["settings"].get("reason", "nothing")

    await eventually(lambda: is_told(one, told))
    await eventually(lambda: is_told(other, "this node" if "this node" in told else told))
    for server in (one, other):
        await eventually(partial(is_said, server, "settings differ"))
    settings: dict[str, dict[str, object]] = {"redis": {"url": redis_server.url}}
    same = Config.from_mapping({**settings, "auth": {"main_host": {"url": main_host.url}}})
    [names] = [each for each in await check(same) if each.check == "redis names"]
    assert names.status == "warning"
    assert names.found.startswith(told)
    await other.terminate()
    if "redis.prefix" in difference:  # nothing is left of who only listened
        [names] = [each for each in await check(same) if each.check == "redis names"]
        assert names.status == "ok"


async def test_a_producer_that_keeps_less_is_told_and_what_it_lost_is_a_gap(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Though by the nodes' own retention it would still be there; and the nodes stay ready."""
    server = await serve()
    client = stream(server, "42")
    await client.connect()
    await client.wait_for(lambda _: bool(client.last_event_id))
    await client.close()
    async with aionotify.Publisher(redis_server.url, inbox=InboxConfig(retention=2)) as producer:
        await producer.publish({"recipient_id": "42", "data": 1})
    await eventually(lambda: not redis_server.cli("EXISTS", "aionotify:{42}:inbox"))
    async with stream(server, "42", f"?last_event_id={client.last_event_id}") as again:
        await again.wait_for(lambda _: len(again.events) > 1)
        assert [event.event for event in again.events] == ["aionotify.open", "aionotify.gap"]
        assert json.loads(again.events[1].data) == {"reason": "trimmed"}
    answer = await ask(server, "/readyz")
    assert answer.status == 200
    assert answer.json["checks"]["settings"] == {
        "ok": False,
        "reason": "somebody keeps 100 events for 2 s, and this node 100 for 604800 s",
    }
