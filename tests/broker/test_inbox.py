"""Reading inboxes: pages for many readers, from few questions to Redis."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from aionotify import tasks
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import Command, Execute
from aionotify.broker.data_set import DataSet
from aionotify.broker.inbox import Inbox, parse_entry
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import Publisher
from aionotify.config import InboxConfig, RedisConfig
from aionotify.errors import BrokerUnavailable, InboxRefused, InvalidEvent
from aionotify.events.event import Event, decode
from aionotify.events.event_id import event_id
from aionotify.events.page import Entry, Page
from aionotify.events.position import is_complete
from aionotify.telemetry.stats import Stats
from tests.broker.executes import TIMEOUT, on_one_connection
from tests.harness import RedisServer, eventually
from tests.harness.ports import free_port

KEYS = Keys("p", "")


class Reader(Inbox):
    """An inbox reader and what it counts."""

    def __init__(self, execute: Execute) -> None:
        self.stats = Stats()
        data_set = DataSet(execute, KEYS, retention=3600, max_events=100)
        data_set.settle(3_000_101)
        super().__init__(execute, KEYS, data_set, max_bytes=1000, page_bytes=4000, stats=self.stats)

    async def page(self, after: int) -> Page:
        return await self.read("u", after)


@contextlib.asynccontextmanager
async def reader_of(server: RedisServer) -> AsyncIterator[Reader]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    reader = Reader(endpoint.commands("reads").execute)
    try:
        yield reader
    finally:
        await reader.close()
        await endpoint.close()


@pytest.fixture
async def reader(redis_server: RedisServer) -> AsyncIterator[Reader]:
    async with reader_of(redis_server) as reader:
        yield reader


@pytest.fixture
async def publisher(redis_server: RedisServer) -> AsyncIterator[Publisher]:
    limits = InboxConfig(max_events=1000)
    async with Publisher(redis_server.url, prefix="p", inbox=limits) as publisher:
        yield publisher


async def fill(publisher: Publisher, count: int, size: int = 1) -> list[int]:
    """Publish so many events; return their positions."""
    events = [{"recipient_id": "u", "data": "x" * size, "n": n} for n in range(count)]
    results = await publisher.publish_many(events)
    return [
        int(result.event_id.partition(".")[2], 16)
        for result in results
        if not isinstance(result, Exception)
    ]


def event_of(entry: Entry) -> Event:
    assert entry.event is not None
    return entry.event


def scripts_run(server: RedisServer) -> int:
    """How many calls of scripts Redis has had."""
    stats = server.cli("INFO", "commandstats")
    return sum(
        stats[f"cmdstat_{name}"]["calls"]
        for name in ("eval", "evalsha")
        if f"cmdstat_{name}" in stats
    )


async def test_a_page_has_the_events_after_a_position(reader: Reader, publisher: Publisher) -> None:
    first, second, third = await fill(publisher, 3)
    page = await reader.page(first)
    assert [(entry.position, entry.previous) for entry in page.entries] == [
        (second, first),
        (third, second),
    ]
    assert event_of(page.entries[0]).data("u") == b'{"recipient_id":"u","data":"x","n":1}'
    assert (page.upto, page.newest, page.gap) == (third, third, None)


async def test_only_the_newest_position_may_be_asked_for(
    reader: Reader, publisher: Publisher
) -> None:
    positions = await fill(publisher, 3)
    assert await reader.newest(["u"]) == [Page([], positions[-1], positions[-1], None)]


async def test_a_gap_has_a_reason(reader: Reader) -> None:
    page = await reader.page(0)
    assert (page.entries, page.gap, page.newest & 1) == ([], "unknown", 1)


@pytest.mark.parametrize(("count", "size"), [(100, 1), (30, 500)])
async def test_pages_are_bounded_and_lead_through_the_whole_inbox(
    reader: Reader, publisher: Publisher, count: int, size: int
) -> None:
    positions = await fill(publisher, count, size)
    found: list[int] = []
    after = positions[0] - 1
    complete = False
    while not complete:
        page = await reader.page(after)
        found += [entry.position for entry in page.entries]
        sizes = [len(event_of(entry).data("u")) for entry in page.entries]
        assert sum(sizes) <= 4000
        after, complete = page.upto, is_complete(page)
    assert found == positions


async def test_who_ask_the_same_share_an_answer(
    reader: Reader, publisher: Publisher, redis_server: RedisServer
) -> None:
    """A thousand streams of one user, or all streams about everyone's inbox."""
    await fill(publisher, 1)
    before = scripts_run(redis_server)
    pages = await asyncio.gather(*(reader.read("u", 0) for _ in range(1000)))
    assert scripts_run(redis_server) - before == 1
    assert len({id(page) for page in pages}) == 1


async def test_questions_about_many_inboxes_travel_together(
    reader: Reader, publisher: Publisher, redis_server: RedisServer
) -> None:
    """A call for each would cost Redis and us several times as much; each gets its own answer."""
    users = [f"u{number}" for number in range(100)]
    await publisher.publish_many([{"recipient_id": user} for user in users[::2]])
    before = scripts_run(redis_server)
    pages = await asyncio.gather(*(reader.read(user, 0) for user in users))
    assert scripts_run(redis_server) - before == 2 + 2  # 32 to a call, 64 at a time
    found = [[event_of(entry).recipients for entry in page.entries] for page in pages]
    assert found == [[] if number % 2 else [(user,)] for number, user in enumerate(users)]


async def test_an_inbox_that_cannot_be_read_is_no_reason_not_to_read_the_others(
    reader: Reader, redis_server: RedisServer
) -> None:
    redis_server.cli("SET", KEYS.inbox("broken"), "not a list", "EX", 60)
    before, broken, after = await asyncio.gather(
        *(reader.read(user, 0) for user in ("a", "broken", "b")), return_exceptions=True
    )
    assert isinstance(before, Page)
    assert isinstance(after, Page)
    assert isinstance(broken, InboxRefused)
    assert "WRONGTYPE" in str(broken) or "wrong kind of value" in str(broken)


async def test_a_right_that_is_missing_to_one_inbox_hides_no_other(own_redis: RedisServer) -> None:
    """Redis then refuses the whole call, in which there are 32 of them."""
    own_redis.cli("ACL", "SETUSER", "default", "resetkeys", "~p:{a}:*", "~p:{b}:*")
    async with reader_of(own_redis) as reader:
        before, broken, after = await asyncio.gather(
            *(reader.read(user, 0) for user in ("a", "secret", "b")), return_exceptions=True
        )
        assert isinstance(before, Page)
        assert isinstance(after, Page)
        assert isinstance(broken, InboxRefused)
        assert reader.stats.inboxes_refused == 1
        assert str(reader.unreadable.problem).startswith("p:{secret}:inbox: Redis refused: NOPERM")


async def test_a_redis_that_is_busy_refuses_no_inbox(own_redis: RedisServer) -> None:
    """With a script that takes too long: it will answer, and nobody has missed anything."""
    own_redis.cli("CONFIG", "SET", "busy-reply-threshold", 1)
    async with reader_of(own_redis) as reader:
        await reader.page(0)
        endless = asyncio.create_task(
            asyncio.to_thread(own_redis.cli, "EVAL", "while true do end", 0)
        )
        try:
            answer: object = None
            while answer is None or isinstance(answer, Page):
                [answer] = await asyncio.gather(reader.read("u", 0), return_exceptions=True)
        finally:
            own_redis.cli("SCRIPT", "KILL")
            await asyncio.gather(endless, return_exceptions=True)
        assert "BUSY" in str(answer)
        assert not isinstance(answer, InboxRefused)
        assert reader.unreadable.problem is None


async def test_a_silent_redis_keeps_nobody_for_longer_than_one_timeout(
    own_redis: RedisServer,
) -> None:
    """Who asks meanwhile shares the fate of those who asked before."""
    async with on_one_connection(own_redis.port) as execute:
        reader = Reader(execute)
        await reader.page(0)
        own_redis.pause()
        started = time.monotonic()
        failed = await asyncio.gather(
            *(reader.read(f"u{number}", 0) for number in range(1000)), return_exceptions=True
        )
        taken = time.monotonic() - started
        own_redis.resume()
        await reader.close()
    assert {type(error) for error in failed} == {BrokerUnavailable}
    assert TIMEOUT <= taken < 5 * TIMEOUT


async def test_a_bug_is_told_to_those_who_ask_and_is_over_for_those_after_them(
    redis_server: RedisServer,
) -> None:
    """Whoever was not answered would be a stream that waits for ever."""
    bugs = [ZeroDivisionError()] * 2
    async with on_one_connection(redis_server.port) as execute:

        async def buggy(commands: Sequence[Command]) -> list[Any]:
            if bugs:
                raise bugs.pop()
            return await execute(commands)

        reader = Reader(buggy)
        async with asyncio.timeout(5):
            failed = await asyncio.gather(
                *(reader.read(f"u{number}", 0) for number in range(100)), return_exceptions=True
            )
            assert {type(error) for error in failed} == {ZeroDivisionError}
            assert (await reader.page(0)).gap == "unknown"
        await reader.close()


async def test_whoever_asks_is_not_left_waiting_when_the_work_is_cancelled(
    own_redis: RedisServer,
) -> None:
    """As a loop does that ends: those whose question is under way, and those after them."""
    async with reader_of(own_redis) as reader:
        before = asyncio.all_tasks()
        own_redis.pause()
        waiting = [reader.read(f"u{number}", 0) for number in range(100)]
        for _ in range(3):
            await asyncio.sleep(0)  # some are on their way
        await tasks.cancelled(asyncio.all_tasks() - before)
        assert all(page.cancelled() for page in waiting)
        own_redis.resume()
        assert (await reader.page(0)).gap == "unknown"


def refusals(cluster: RedisServer) -> int:
    """How often it has been asked about several inboxes in one call."""
    return int(cluster.cli("INFO", "errorstats").get("errorstat_CROSSSLOT", {"count": 0})["count"])


@pytest.mark.asyncio(loop_factories=["asyncio"])  # it takes seconds
async def test_a_cluster_of_one_shard_is_asked_about_one_inbox_at_a_time(tmp_path: Path) -> None:
    """It has all keys, but refuses several that could lie elsewhere; once it has, that is known."""
    with RedisServer(
        tmp_path, options={"cluster-enabled": "yes", "cluster-port": str(free_port())}
    ) as cluster:
        cluster.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await eventually(lambda: "cluster_state:ok" in cluster.cli("CLUSTER", "INFO"))
        async with reader_of(cluster) as reader, Publisher(cluster.url, prefix="p") as publisher:
            users = [f"u{number}" for number in range(100)]
            await publisher.publish_many([{"recipient_id": user} for user in users])
            for refused in (2, 0):  # 32 to a call, 64 at a time
                before = refusals(cluster)
                pages = await asyncio.gather(*(reader.read(user, 0) for user in users))
                assert [event_of(page.entries[0]).recipients for page in pages] == [
                    (user,) for user in users
                ]
                assert refusals(cluster) - before == refused


async def test_an_answer_is_never_older_than_its_question(own_redis: RedisServer) -> None:
    """Who asks while the same question is under way is answered by another one."""
    async with reader_of(own_redis) as reader:
        own_redis.pause()
        first = reader.read("u", 0)
        await asyncio.sleep(0)  # the question is put together
        await asyncio.sleep(0)  # and goes off
        second = reader.read("u", 0)
        own_redis.resume()
        assert await first is not await second
    assert scripts_run(own_redis) == 2 + 1  # the script was not known to it at first


async def test_who_stops_waiting_does_so_for_himself(reader: Reader) -> None:
    staying, leaving = reader.read("u", 0), reader.read("u", 0)
    leaving.cancel()
    assert (await staying).gap == "unknown"


async def test_all_may_stop_waiting(reader: Reader, own_redis: RedisServer) -> None:
    """An answer that nobody waits for, even a failure, disturbs nobody."""
    async with reader_of(own_redis) as other:
        own_redis.stop()
        for each in (reader, other):
            each.read("u", 0).cancel()
            await each.close()


async def test_without_redis_it_raises_and_works_again_later(own_redis: RedisServer) -> None:
    async with reader_of(own_redis) as reader:
        own_redis.stop()
        for _ in range(2):
            with pytest.raises(BrokerUnavailable):
                await reader.page(0)
        own_redis.start()
        assert (await reader.page(0)).gap == "unknown"


async def test_a_script_that_redis_has_forgotten_is_loaded_again(
    reader: Reader, redis_server: RedisServer
) -> None:
    await reader.page(0)
    redis_server.cli("SCRIPT", "FLUSH")
    assert (await reader.page(0)).gap == "unknown"


INVALID = [
    b"",
    b"garbage",
    b"1 2",
    b"x 2 {}",
    b'%d 2 {"recipient_id":"u"}' % 2**53,
    b'1 2 {"recipient_id":"somebody else"}',
    b'1 2 {"recipient_id":"*"}',
    b"1 2 []",
    b'1 2 {"recipient_id":"u","data":"%b"}' % (b"x" * 4000),
]


@pytest.mark.parametrize("raw", INVALID)
def test_what_is_no_entry_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_entry(raw, "u", 1000)


def test_an_entry_that_grew_by_its_escapes_is_none_too_long() -> None:
    """Whatever is let in at 1,000 bytes is let out."""
    frame, text = '{"recipient_id":"u","d":""}', "\x85\u2028"
    message = frame.replace('""', f'"{text * ((1000 - len(frame)) // 12)}"').encode()
    data = decode(message, 1000).data("u")
    assert 1000 - 12 < len(data) <= 1000
    assert len(data) > 2 * len(message)
    assert event_of(parse_entry(b"4 2 " + data, "u", 1000)).data("u") == data


async def test_an_entry_whose_event_was_taken_out_is_a_place_without_one(
    reader: Reader, publisher: Publisher
) -> None:
    first, second = await fill(publisher, 2)
    assert await publisher.recall(str(event_id("u", first)), "u")
    page = await reader.page(0)
    assert [(entry.position, entry.event is None) for entry in page.entries] == [
        (first, True),
        (second, False),
    ]
    assert page.entries[1].previous == first
    assert reader.stats.events_invalid == 0


@pytest.mark.parametrize("count", [1, 200])
async def test_what_is_no_event_is_skipped_counted_and_told_once(
    reader: Reader,
    publisher: Publisher,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    """Also when a whole page is: a reader gets past it. The payload is not in the log."""
    [first] = await fill(publisher, 1)
    for number in range(1, count + 1):
        redis_server.cli("RPUSH", "p:{u}:inbox", f"{first + 2 * number} {first} secret")
    [last] = await fill(publisher, 1)
    after, found = first, []
    with caplog.at_level(logging.WARNING):
        while after < last:
            page = await reader.page(after)
            assert page.upto > after
            after = page.upto
            found += [entry.position for entry in page.entries]
    assert found == [last]
    assert reader.stats.events_invalid == count
    assert len(caplog.records) == 1
    assert "secret" not in str(vars(caplog.records[0]))


@pytest.mark.parametrize("junk", ["junk", f"{2**53} 2 {{}}", "9" * 5000 + " 2 {}", "9" * 16])
async def test_a_page_that_ends_with_junk_leads_on(
    reader: Reader, publisher: Publisher, redis_server: RedisServer, junk: str
) -> None:
    """Junk has no position: the page reaches to the last event before it."""
    positions = await fill(publisher, 20)
    redis_server.cli("RPUSH", "p:{u}:inbox", *[junk] * 200)
    positions += await fill(publisher, 20)
    page = await reader.page(positions[0] - 1)
    assert page.upto == positions[19]
    page = await reader.page(page.upto)
    assert [entry.position for entry in page.entries] == positions[20:]
