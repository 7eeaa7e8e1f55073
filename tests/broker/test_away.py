"""Events that wait for users who are away: none is forgotten, whoever dies in between."""

from collections.abc import AsyncIterator

import pytest
from redis import Redis

from aionotify.broker.away import KEPT, Away, Looked
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.config import RedisConfig
from aionotify.events.event import decode
from aionotify.events.event_id import mark_of
from tests.harness import RedisServer, eventually

KEYS = Keys("aionotify")
EVENT = decode(b'{"recipient_id":"a","aionotify":{"away":1}}')


@pytest.fixture
async def away(redis_server: RedisServer) -> AsyncIterator[Away]:
    redis_server.cli("FLUSHALL")
    endpoint = Endpoint(RedisConfig(url=redis_server.url))
    away = Away(endpoint.commands("writes").execute, KEYS)
    yield away
    await away.close()
    await endpoint.close()


async def expect(away: Away, users: list[tuple[str, float]]) -> None:
    """As a publisher does it before it stores an event."""
    words = [word for user, seconds in users for word in (user, seconds * 1000)]
    await Script(away.execute, "expect.lua").call((KEYS.away_due,), (KEPT, *words))


def store(
    server: RedisServer, user: str, position: int, after: float = 0, until: str = "written"
) -> None:
    """As append.lua does it."""
    with Redis(port=server.port) as client:
        seconds, micros = client.time()
        due = seconds * 1000 + micros // 1000 + int(after * 1000)
        client.zadd(KEYS.away(user), {str(position): due})
        client.hset(KEYS.away_events(user), str(position), f'{until} {{"n":{position}}}')
        client.expire(KEYS.away(user), 100)
        client.expire(KEYS.away_events(user), 100)


async def test_who_is_noted_is_looked_at_when_it_is_time(
    away: Away, redis_server: RedisServer
) -> None:
    await expect(away, [("a", 0), ("b", 3600)])
    due = await away.due([], 10)
    assert [each.user_id for each in due] == ["a"]


async def test_who_is_noted_again_is_looked_at_for_what_is_due_first(away: Away) -> None:
    await expect(away, [("a", 3600)])
    await expect(away, [("a", 0)])
    await expect(away, [("a", 7200)])
    assert [each.user_id for each in await away.due([], 10)] == ["a"]


async def test_what_is_due_is_given_out_until_it_is_taken_away(
    away: Away, redis_server: RedisServer
) -> None:
    store(redis_server, "a", 2)
    store(redis_server, "a", 4, until="read")
    store(redis_server, "a", 6, after=3600)
    for _ in range(2):
        events, following = await away.waiting("a")
        assert [each[:1] + each[2:] for each in events] == [
            (2, "written", b'{"n":2}'),
            (4, "read", b'{"n":4}'),
        ]
        assert float(following) > events[-1].at + 3_000_000
    _, following = await away.waiting("a")
    assert await away.take_away("a", [2, 4]) == following
    assert await away.waiting("a") == ([], following)
    assert await away.take_away("a", [6]) == ""
    assert redis_server.cli("EXISTS", KEYS.away("a"), KEYS.away_events("a")) == 0


async def test_what_was_written_to_a_stream_waits_no_more(
    away: Away, redis_server: RedisServer
) -> None:
    for position in range(2, 202, 2):
        store(redis_server, "a", position)
        away.written("a", position, EVENT)
    away.written("b", 2, EVENT)
    await eventually(lambda: redis_server.cli("EXISTS", KEYS.away("a")) == 0)


async def test_what_was_read_waits_no_more(away: Away, redis_server: RedisServer) -> None:
    """Up to a position, or one by one; what was written to a stream only is to be handed on."""
    for position in (2, 4, 6, 8):
        store(redis_server, "a", position, until="read")
    store(redis_server, "a", 10)
    marks = f"{2:014x} {6:014x} {10:014x} "
    redis_server.cli("HSET", KEYS.read("a"), mark_of("a"), marks)
    redis_server.cli("EXPIRE", KEYS.read("a"), 100)
    events, following = await away.waiting("a")
    assert ([each.position for each in events], following) == ([4, 8, 10], "")
    assert redis_server.cli("HLEN", KEYS.away_events("a")) == 3


async def test_who_dies_before_he_stores_leaves_no_more_than_two_looks(
    away: Away, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.broker.away._AGAIN", 0)
    await expect(away, [("a", 0)])
    looks, looked = 0, list[Looked]()
    while due := await away.due(looked, 10):
        looks += 1
        looked = [Looked(each, "") for each in due]
    assert looks == 2
    assert redis_server.cli("EXISTS", KEYS.away_due, KEYS.away_again) == 0


async def test_an_event_that_is_stored_after_the_look_is_found(
    away: Away, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user was noted while he was still there for an event before."""
    monkeypatch.setattr("aionotify.broker.away._AGAIN", 0)
    store(redis_server, "a", 2)
    await expect(away, [("a", 0)])
    [due] = await away.due([], 10)
    await expect(away, [("a", 0)])  # of another producer, who is slow
    [event], _ = await away.waiting("a")
    following = await away.take_away("a", [event.position])
    store(redis_server, "a", 4)
    [again] = await away.due([Looked(due, following)], 10)
    assert again.user_id == "a"
    [event], _ = await away.waiting("a")
    assert event.position == 4


async def test_many_are_looked_at_in_portions(away: Away) -> None:
    await expect(away, [(f"user-{number}", 0) for number in range(25)])
    seen, looked = list[str](), list[Looked]()
    while due := await away.due(looked, 10):
        seen += [each.user_id for each in due]
        looked = [Looked(each, "") for each in due]
    assert sorted(seen) == sorted(f"user-{number}" for number in range(25))


async def test_many_events_of_one_user_come_in_portions(
    away: Away, redis_server: RedisServer
) -> None:
    for position in range(2, 502, 2):
        store(redis_server, "a", position)
    seen: list[int] = []
    while True:
        events, following = await away.waiting("a")
        seen += [each.position for each in events]
        assert len(events) <= 100
        if not following:
            break
        assert await away.take_away("a", [each.position for each in events])
    assert seen == list(range(2, 502, 2))
