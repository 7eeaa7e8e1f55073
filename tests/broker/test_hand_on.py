"""Events of users who are away are handed on: at least once, and once while nothing dies."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis

from aionotify import tasks
from aionotify.broker import hand_on as room
from aionotify.broker.away import Away
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.hand_on import HandedOn, HandOn, NotNow, Outlet, RedisStream, Refused
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import Publisher
from aionotify.config import InboxConfig, RedisConfig
from aionotify.events.away_rules import AwayRule, AwayRules
from aionotify.events.event import decode
from aionotify.events.event_id import event_id
from aionotify.telemetry.stats import Stats
from tests.harness import RedisServer, eventually

KEYS = Keys("aionotify")
STREAM = "mailer"


class Node:
    """What one node has to hand on with."""

    def __init__(self, endpoint: Endpoint, outlet: Outlet | None = None) -> None:
        execute = endpoint.commands("writes").execute
        self.stats = Stats()
        self.away = Away(execute, KEYS)
        self.hand_on = HandOn(
            execute,
            KEYS,
            self.away,
            outlet or RedisStream(execute, STREAM, 1000),
            stats=self.stats,
            may_take=lambda: True,
        )


Start = Callable[..., Any]


@pytest.fixture
def start(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(room, "_LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(room, "_RETRY", (0.02, 0.1))
    monkeypatch.setattr(room, "_LATER", 50)
    redis_server.cli("FLUSHALL")

    @asynccontextmanager
    async def running(outlet: Outlet | None = None) -> AsyncIterator[Node]:
        endpoint = Endpoint(RedisConfig(url=redis_server.url))
        node = Node(endpoint, outlet)
        task = asyncio.create_task(node.hand_on.run())
        try:
            yield node
        finally:
            await node.hand_on.leave()
            await tasks.cancelled([task])
            await node.hand_on.close()
            await node.away.close()
            await endpoint.close()

    return running


@pytest.fixture
async def publisher(redis_server: RedisServer) -> AsyncIterator[Publisher]:
    async with Publisher(redis_server.url) as publisher:
        yield publisher


@pytest.fixture(autouse=True)
def cleared(redis_server: RedisServer) -> Any:
    yield
    redis_server.cli("DEL", STREAM)


def entries(server: RedisServer, name: str = STREAM) -> list[dict[str, str]]:
    with Redis(port=server.port, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(name)]


def waiting(server: RedisServer) -> list[str]:
    """The keys of what waits."""
    with Redis(port=server.port, decode_responses=True) as client:
        return sorted(key for key in client.keys("*:away*") if "lease" not in key)


def for_user(user: str, away: float = 0.01, **members: Any) -> dict[str, Any]:
    return {"recipient_id": user, "aionotify": {"away": away}, **members}


async def test_an_event_of_a_user_who_is_away_is_handed_on_once(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    published = await publisher.publish(for_user("42", data={"order": 7}))
    async with start() as node:
        await eventually(lambda: entries(redis_server))
        [entry] = entries(redis_server)
        assert entry["event_id"] == published.event_id
        assert entry["recipient_id"] == "42"
        assert json.loads(entry["event"])["data"] == {"order": 7}
        position = int(published.event_id.partition(".")[2], 16)
        assert float(entry["time"]) == pytest.approx(position / 1_000_000)
        assert node.stats.handed_on["taken"] == 1
        await eventually(lambda: not redis_server.cli("EXISTS", KEYS.away("42")))
    assert len(entries(redis_server)) == 1


async def test_each_of_several_recipients_is_away_for_himself(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    event = for_user("1") | {"recipient_id": ["1", "2"]}
    await publisher.publish(event)
    async with start() as node:
        await eventually(lambda: redis_server.cli("EXISTS", KEYS.away("1"), KEYS.away("2")) == 2)
        position = int(redis_server.cli("ZRANGE", KEYS.away("1"), 0, 0)[0])
        node.away.written("1", position, decode(json.dumps(event).encode()))
        await eventually(lambda: entries(redis_server))
    told = {entry["recipient_id"] for entry in entries(redis_server)}
    assert "2" in told
    assert all("recipient_id" in json.loads(entry["event"]) for entry in entries(redis_server))


async def test_what_is_not_due_waits(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    await publisher.publish(for_user("late", 3600))
    await publisher.publish(for_user("soon"))
    async with start():
        await eventually(lambda: entries(redis_server))
        assert [entry["recipient_id"] for entry in entries(redis_server)] == ["soon"]
        assert KEYS.away("late") in waiting(redis_server)


async def test_a_repeated_event_waits_once(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    for _ in range(3):
        await publisher.publish(for_user("42", id="k"))
    async with start():
        await eventually(lambda: entries(redis_server))
        await eventually(lambda: not redis_server.cli("EXISTS", KEYS.away("42")))
    assert len(entries(redis_server)) == 1


async def test_one_node_hands_on_and_another_when_it_leaves(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    async with start() as second:
        async with start():
            for number in range(100):
                await publisher.publish(for_user(f"user-{number}"))
            await eventually(lambda: len(entries(redis_server)) >= 50)
        for number in range(100, 200):
            await publisher.publish(for_user(f"user-{number}"))
        await eventually(lambda: len(entries(redis_server)) >= 200)
        assert second.stats.handed_on["taken"] >= 0
    told = [entry["recipient_id"] for entry in entries(redis_server)]
    assert sorted(told) == sorted(f"user-{number}" for number in range(200))


class Failing:
    """An outlet that does not take a user's event for a while, and never takes another's."""

    def __init__(self) -> None:
        self.failures = 3
        self.taken: list[str] = []

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        return [self._take(each.recipient_id) for each in events]

    def _take(self, user: str) -> Refused | NotNow | None:
        if user == "bad":
            return Refused("410 Gone")
        if user == "late" and self.failures:
            self.failures -= 1
            return NotNow("not just now")
        self.taken.append(user)
        return None


class Stuck(Failing):
    """One that never takes the events of some users, and does not say so."""

    def _take(self, user: str) -> Refused | NotNow | None:
        if user.startswith("stuck"):
            return NotNow("500")
        self.taken.append(user)
        return None


async def test_nobody_waits_behind_events_that_are_never_taken(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    """Though they are more than are looked at together, and due before."""
    outlet = Stuck()
    for number in range(room._USERS + 5):
        await publisher.publish(for_user(f"stuck-{number}"))
    await eventually(lambda: redis_server.cli("ZCARD", KEYS.away_due) == room._USERS + 5)
    await publisher.publish(for_user("last", 0.1))
    async with start(outlet):
        await eventually(lambda: outlet.taken == ["last"])
    assert redis_server.cli("ZCARD", KEYS.away_due) >= room._USERS + 5


class Slow:
    """An outlet that takes longer than a lease lasts."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def take(self, events: Sequence[HandedOn]) -> Sequence[Refused | NotNow | None]:
        await asyncio.sleep(1)
        self.taken += [each.recipient_id for each in events]
        return [None] * len(events)


async def test_what_takes_long_is_not_handed_on_by_another_node_as_well(
    start: Start, publisher: Publisher, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.broker.lease.LENGTH", 0.4)
    monkeypatch.setattr("aionotify.broker.lease._RENEWED_AFTER", 0.05)
    outlet = Slow()
    await publisher.publish(for_user("42"))
    async with start(outlet), start(outlet):
        await eventually(lambda: outlet.taken)
        await eventually(lambda: not redis_server.cli("EXISTS", KEYS.away("42")))
    assert outlet.taken == ["42"]


async def test_what_cannot_be_taken_now_is_tried_again_and_what_never_will_be_is_kept(
    start: Start, publisher: Publisher, redis_server: RedisServer
) -> None:
    outlet = Failing()
    for user in ("bad", "good", "late"):
        await publisher.publish(for_user(user, data="x"))
    async with start(outlet) as node:
        await eventually(lambda: node.hand_on.health.problem)
        await eventually(lambda: "late" in outlet.taken)
        assert node.stats.handed_on["refused"] == 1
        await eventually(lambda: node.hand_on.health.problem is None)
        [letter] = entries(redis_server, KEYS.away_refused)
        assert (letter["recipient_id"], letter["reason"]) == ("bad", "410 Gone")
        await eventually(lambda: not redis_server.cli("EXISTS", KEYS.away("bad")))
    assert outlet.taken == ["good", "late"]


async def test_events_of_a_type_wait_by_a_rule(redis_server: RedisServer, start: Start) -> None:
    rules = AwayRules({"order": AwayRule(0.01)})
    async with Publisher(redis_server.url, away=rules) as publisher:
        await publisher.publish({"recipient_id": "42", "event": "order"})
        await publisher.publish({"recipient_id": "42", "event": "other"})
        await publisher.publish({"recipient_id": "*", "event": "order"})
    async with start():
        await eventually(lambda: entries(redis_server))
        await eventually(lambda: not redis_server.cli("EXISTS", KEYS.away("42")))
    assert len(entries(redis_server)) == 1


async def test_an_event_that_its_inbox_keeps_no_more_is_handed_on_all_the_same(
    redis_server: RedisServer, start: Start
) -> None:
    async with Publisher(redis_server.url, inbox=InboxConfig(max_events=1)) as publisher:
        for number in range(5):
            await publisher.publish(for_user("42", n=number))
    async with start():
        await eventually(lambda: len(entries(redis_server)) == 5)
    assert [json.loads(entry["event"])["n"] for entry in entries(redis_server)] == [0, 1, 2, 3, 4]


def test_an_event_id_is_that_of_the_inbox() -> None:
    assert str(event_id("42", 2)).endswith(".00000000000002")
