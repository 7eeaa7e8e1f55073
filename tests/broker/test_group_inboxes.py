"""append.lua and read.lua for groups, on a real Redis: one order in a shard, an inbox for each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import Redis

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.data_set import DataSet
from aionotify.broker.inbox import Inbox, parse_copy
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import Publisher
from aionotify.config import InboxConfig, RedisConfig
from aionotify.errors import BrokerRefused, InvalidEvent
from aionotify.events.event_id import parse
from aionotify.events.group import GroupId, mark, shard_of
from aionotify.events.page import GapReason, Page
from aionotify.events.position import BEGINNING
from aionotify.telemetry.stats import Stats
from tests.harness import RedisServer

KEYS = Keys("p", "")
SHARD = 1
A, B, C, D = [name for n in range(100) if shard_of(name := f"group {n}") == SHARD][:4]


class Shard:
    """Its groups as a producer and a reader see them."""

    def __init__(self, server: RedisServer, publisher: Publisher, inbox: Inbox) -> None:
        self.server = server
        self.publisher = publisher
        self._inbox = inbox

    async def publish(self, *groups: str, **members: Any) -> list[int]:
        """Publish an event to each, numbered from 0; return the positions."""
        events = [{"group_id": each, "n": n, **members} for n, each in enumerate(groups)]
        results = await self.publisher.publish_many(events)
        found = [parse(each.event_id) for each in results if not isinstance(each, Exception)]
        return [each.position for each in found if each is not None]

    async def read(self, after: int, *groups: str, asked: tuple[int, ...] = ()) -> Page:
        return await self._inbox.read_groups(SHARD, groups, after, asked)

    async def newest(self) -> int:
        [page] = await self._inbox.newest([SHARD])
        assert isinstance(page, Page)
        return page.newest

    def inbox(self, group: str) -> str:
        return KEYS.inbox(GroupId(group))


def groups(page: Page) -> list[str]:
    return [entry.event.groups[0] for entry in page.entries if entry.event is not None]


@contextlib.asynccontextmanager
async def shard_of_server(server: RedisServer, **limits: int) -> AsyncIterator[Shard]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    execute = endpoint.commands("reads").execute
    data_set = DataSet(execute, KEYS, retention=3600, max_events=1000)
    inbox = Inbox(execute, KEYS, data_set, max_bytes=1000, page_bytes=40_000, stats=Stats())
    config = InboxConfig(**limits)
    try:
        async with Publisher(server.url, prefix="p", inbox=config) as publisher:
            yield Shard(server, publisher, inbox)
    finally:
        await inbox.close()
        await endpoint.close()


@pytest.fixture
async def shard(redis_server: RedisServer) -> AsyncIterator[Shard]:
    async with shard_of_server(redis_server) as shard:
        yield shard


async def test_the_events_of_several_groups_are_read_in_one_order(shard: Shard) -> None:
    positions = await shard.publish(A, B, C, A, B, C)
    page = await shard.read(BEGINNING | 1, A, C)
    assert groups(page) == [A, C, A, C]
    assert [entry.position for entry in page.entries] == [positions[n] for n in (0, 2, 3, 5)]
    assert (page.newest, page.upto) == (positions[5], positions[5])
    page = await shard.read(positions[2], A, B)
    assert (groups(page), page.gap, page.newest) == ([A, B], None, positions[5])


async def test_a_page_of_groups_says_when_there_is_more(shard: Shard) -> None:
    positions = await shard.publish(*(A, B, C) * 50)
    after, found = positions[0] - 1, []
    for _ in range(4):
        page = await shard.read(after, A, B, C)
        found += [entry.position for entry in page.entries]
        after = page.upto
    assert found == positions
    assert after == await shard.newest() == positions[-1]


async def test_groups_of_which_nothing_is_new_are_complete(shard: Shard) -> None:
    """However much there is in others."""
    positions = await shard.publish(A, *[B] * 300)
    page = await shard.read(positions[0], A)
    assert page == Page([], positions[-1], positions[-1], None)


async def test_what_one_group_keeps_no_longer_is_no_gap_in_another(
    redis_server: RedisServer,
) -> None:
    async with shard_of_server(redis_server, max_events=2) as shard:
        positions = await shard.publish(A, B, A, A, A)
        assert (await shard.read(positions[0], B)).gap is None
        page = await shard.read(positions[0], A, B)
        assert (page.gap, groups(page)) == (GapReason.TRIMMED, [B, A, A])
        assert (await shard.read(positions[2], A, B)).gap is None


async def test_a_position_that_was_never_given_out_is_lost(shard: Shard) -> None:
    """One that is an event's, of whichever group, is none; nor is a moment between two."""
    positions = await shard.publish(A, B, C)
    assert (await shard.read(positions[1], A)).gap is None
    assert (await shard.read(positions[1] + 1, A)).gap is None
    assert (await shard.read(positions[2] + 2, A)).gap is GapReason.LOST
    shard.server.cli("LREM", KEYS.inbox(SHARD), 1, f"{positions[1]} ")
    page = await shard.read(positions[1], A, C)
    assert (page.gap, groups(page)) == (GapReason.LOST, [C])


async def test_a_shard_says_which_positions_it_does_not_know(shard: Shard) -> None:
    positions = await shard.publish(A, B, C)
    asked = (*positions, positions[0] + 2, positions[2] + 2, positions[0] - 2)
    assert (await shard.read(positions[2], A, asked=asked)).denied == asked[3:5]


async def test_an_empty_shard_knows_none(shard: Shard) -> None:
    [position] = await shard.publish(A)
    shard.server.cli("DEL", KEYS.inbox(SHARD), shard.inbox(A))
    page = await shard.read(position, A, asked=(position,))
    assert (page.gap, page.denied, page.newest & 1) == (GapReason.LOST, (position,), 1)


async def test_the_positions_that_a_shard_keeps_are_bounded(shard: Shard) -> None:
    """Of one that is older nothing is said; and they expire with the inboxes."""
    positions = await shard.publish(*[A] * 4100)
    assert shard.server.cli("LLEN", KEYS.inbox(SHARD)) == 4096
    page = await shard.read(positions[0], B, asked=(positions[0], positions[1]))
    assert (page.gap, page.denied) == (None, ())
    lives = shard.server.cli("TTL", KEYS.inbox(SHARD))
    assert 0 < lives == shard.server.cli("TTL", shard.inbox(A))


async def test_a_live_message_names_the_one_before_it_in_the_shard(shard: Shard) -> None:
    """And the entry the one before it in its group."""
    client = Redis(port=shard.server.port)
    heard = client.pubsub()  # type: ignore[no-untyped-call]
    heard.subscribe(KEYS.live(SHARD))
    heard.get_message(timeout=5)
    positions = await shard.publish(A, B, A)
    messages = [heard.get_message(timeout=5)["data"] for _ in positions]
    copies = list(map(parse_copy, messages))
    assert [copy.position for copy in copies] == positions
    assert [copy.previous for copy in copies[1:]] == positions[:2]
    assert [copy.group for copy in copies] == [mark(GroupId(each)) for each in (A, B, A)]
    [_, last] = shard.server.cli("LRANGE", shard.inbox(A), 0, -1)
    assert last.split(" ")[:2] == [str(positions[2]), str(positions[0])]
    heard.close()
    client.close()


async def test_a_copy_has_the_marks_of_the_receivers_before_it(shard: Shard) -> None:
    await shard.publisher.publish({"recipient_id": ["u", "v"], "group_id": [A, B]})
    page = await shard.read(BEGINNING, A, B)
    users = {mark("u"), mark("v")}
    assert [entry.before for entry in page.entries] == [users, users | {mark(GroupId(A))}]


async def test_an_event_for_a_group_that_takes_the_place_of_another_leaves_no_gap(
    shard: Shard,
) -> None:
    """Nor does its place in the shard go away."""
    options = {"aionotify": {"collapse": "likes"}}
    positions = await shard.publish(A, B, A, **options)
    page = await shard.read(BEGINNING, A, B)
    assert [entry.position for entry in page.entries] == positions
    assert [entry.event is None for entry in page.entries] == [True, False, False]
    assert (await shard.read(positions[0], A)).gap is None


async def test_an_event_with_an_id_is_stored_once_in_a_group(shard: Shard) -> None:
    event = {"recipient_id": "u", "group_id": [A, B], "id": "k"}
    first, again = [await shard.publisher.publish(event) for _ in range(2)]
    assert (first.repeated, again.repeated, again.groups[A].event_id) == (  # type: ignore[union-attr]
        False,
        True,
        first.groups[A].event_id,  # type: ignore[union-attr]
    )
    assert len((await shard.read(BEGINNING, A, B)).entries) == 2


async def test_what_somebody_else_put_into_a_groups_inbox_is_skipped(shard: Shard) -> None:
    positions = await shard.publish(A, B)
    other = shard.server.cli("LINDEX", shard.inbox(B), 0)
    for garbage in ("", "nonsense", other, f"{positions[1] + 2} 0 no marks {{}}"):
        shard.server.cli("RPUSH", shard.inbox(A), garbage)
    positions += await shard.publish(A)
    page = await shard.read(positions[0] - 1, A)
    assert [entry.position for entry in page.entries] == [positions[0], positions[2]]


async def test_an_inbox_of_another_type_keeps_no_other_group_from_being_read(shard: Shard) -> None:
    shard.server.cli("SET", shard.inbox(A), "no list", "EX", 60)
    [position] = await shard.publish(B)
    page = await shard.read(position - 1, A, B)
    assert (groups(page), page.gap) == ([B], GapReason.LOST)
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        await shard.publisher.publish({"group_id": A})
    assert await shard.newest() == position


async def test_positions_grow_also_where_a_shard_has_lost_them(shard: Shard) -> None:
    """The inboxes of its groups have some of them."""
    far = 4_000_000_000_000_000
    shard.server.cli("RPUSH", shard.inbox(A), f"{far} {far - 2} x {{}}")
    [position] = await shard.publish(A)
    assert position > far


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{}",
        b"4 2 {}",
        b"4 2 short {}",
        b"2 4 elevencharX {}",
        b"- - {}",
        b"4 - elevencharX {}",
    ],
)
def test_what_is_no_copy_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_copy(message)


async def test_many_read_groups_at_the_same_time(shard: Shard) -> None:
    """Among others who read users' inboxes."""
    positions = await shard.publish(A, B)
    await shard.publisher.publish({"recipient_id": "u"})
    inbox = shard._inbox
    read = [
        *(inbox.read("u", BEGINNING) for _ in range(3)),
        inbox.read_groups(SHARD, (A,), positions[0], ()),
        inbox.read("v", BEGINNING),
        inbox.read_groups(SHARD, (B,), positions[0], ()),
    ]
    pages = await asyncio.gather(*read)
    assert [len(page.entries) for page in pages] == [1, 1, 1, 0, 0, 1]
