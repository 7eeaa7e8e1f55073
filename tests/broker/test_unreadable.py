"""An inbox that Redis refuses to read: everything else goes on, and whoever runs it hears of it."""

import asyncio
import logging

import pytest

from aionotify.broker.keys import Keys
from aionotify.broker.unreadable import UnreadableInboxes
from aionotify.web.services import Services
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import ask, metric, received, stream

KEYS = Keys("aionotify", "")


def spoil(redis: RedisServer, user: str) -> None:
    """Have something else lie where an inbox was."""
    redis.cli("SET", KEYS.inbox(user), "no list", "EX", 60)


def gaps(client: SSEClient) -> list[str]:
    return [event.data for event in client.events if event.event == "aionotify.gap"]


async def publish(services: Services, user: str, n: int) -> None:
    await services.publisher.publish({"recipient_id": user, "n": n})


@pytest.mark.parametrize("spoilt", ["*", "42"])
async def test_events_of_the_other_inbox_arrive_live_and_after_a_reconnect(
    redis_server: RedisServer, spoilt: str
) -> None:
    fine = "42" if spoilt == "*" else "*"
    async with embedded(redis_server.url) as (url, services):
        async with stream(url, "42") as client:
            await publish(services, fine, 1)
            await received(client, 1)
        await publish(services, spoilt, 0)
        spoil(redis_server, spoilt)
        await publish(services, fine, 2)
        again = stream(url, "42")
        again.last_event_id = client.last_event_id
        async with again:
            await received(again, 1)
            await publish(services, fine, 3)
            assert [event["n"] for event in await received(again, 2)] == [2, 3]
            assert gaps(again) == ['{"reason":"lost"}']


async def test_what_is_published_once_it_can_be_read_again_arrives(
    redis_server: RedisServer,
) -> None:
    spoil(redis_server, "42")
    async with embedded(redis_server.url) as (url, services), stream(url, "42") as client:
        await eventually(lambda: services.inbox.unreadable.problem is not None)
        redis_server.cli("DEL", KEYS.inbox("42"))
        for n in (1, 2):
            await publish(services, "42", n)
        assert [event["n"] for event in await received(client, 2)] == [1, 2]
        await eventually(lambda: services.inbox.unreadable.problem is None)
        assert gaps(client) == [], "who comes now has missed nothing"


async def test_the_log_readiness_and_a_metric_say_so_and_the_node_stays_ready(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even while nobody reads it: of everyone's inbox nobody may know for days."""
    monkeypatch.setattr("aionotify.broker.unreadable._IDLE_INTERVALS", 1)
    async with embedded(redis_server.url) as (url, services):
        with caplog.at_level(logging.WARNING, "aionotify.broker.unreadable"):
            spoil(redis_server, "*")
            await eventually(lambda: services.inbox.unreadable.problem is not None)
        answer = await ask(url, "/readyz")
        assert answer.status == 200
        check = answer.json["checks"]["inboxes"]
        assert not check["ok"]
        assert check["reason"].startswith("aionotify:{*}:inbox: ")
        assert "wrong kind of value" in check["reason"]
        assert vars(caplog.records[0])["fields"]["inbox"] == "aionotify:{*}:inbox"
        assert await metric(url, "aionotify_inbox_reads_refused_total") >= 1
        redis_server.cli("DEL", KEYS.inbox("*"))
        await eventually(lambda: services.inbox.unreadable.problem is None)


async def test_of_many_the_first_is_named_and_the_others_are_counted() -> None:
    inboxes = UnreadableInboxes(KEYS)
    for number in range(1000):
        inboxes.add(f"u{number}", "NOPERM")
    assert inboxes.problem == "aionotify:{u0}:inbox: NOPERM (and 99 more)"
    for number in range(1000):
        inboxes.discard(f"u{number}")
    assert inboxes.problem is None


async def test_those_that_were_refused_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aionotify.broker.unreadable._INTERVAL", 0)
    inboxes = UnreadableInboxes(KEYS)
    tried: list[object] = []

    async def read(recipient_ids: object) -> None:
        tried.append(recipient_ids)

    running = asyncio.create_task(inboxes.run(read))
    inboxes.add("u", "NOPERM")
    await eventually(lambda: tried)
    running.cancel()
    assert tried[0] == ["*", "u"]
