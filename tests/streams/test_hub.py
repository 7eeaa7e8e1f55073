"""The hub: who is here, and one event to all of them at next to no cost."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from aionotify.errors import NodeFull, TooManyStreams
from aionotify.events.cursor import Cursor, parse
from aionotify.events.event import Event, decode
from aionotify.events.frame import framed_chunk
from aionotify.events.group import Ordered
from aionotify.events.page import Entry, Page
from aionotify.streams import stream as real
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Group, Recipient, Shard, StreamReport
from tests.embedded import embedded
from tests.harness import EventParser, RedisServer, SSEEvent, eventually
from tests.integration.talk import CHANNEL, publish, received, stream


class Wanted:
    """Whose events the hub wants, and how often it said so."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Ordered]] = []

    def want(self, of: Ordered) -> None:
        self.said.append(("want", of))

    def drop(self, of: Ordered) -> None:
        self.said.append(("drop", of))


class Stream:
    """A stream that takes everything, until it is `full`."""

    def __init__(self, hub: Hub, recipient: Recipient, *, live: bool = True) -> None:
        self.recipient = recipient
        self.inboxes = (hub.everyone, recipient)
        self.groups: tuple[Group, ...] = ()
        self.shards: tuple[Shard, ...] = ()
        self.live = live
        self.full = False
        self.taken: list[bytes] = []
        self.later: list[bytes] = []
        self.behind: list[Cursor] = []
        self.closed: list[str] = []
        self.missed_notices = 0

    def passes_over(self, before: frozenset[bytes], position: int) -> bool:
        return False

    def push(self, chunk: bytes) -> bool:
        if not self.full:
            self.taken.append(chunk)
        return not self.full

    def tell_later(self, chunk: bytes) -> bool:
        self.later.append(chunk)
        return len(self.later) <= 2

    def flush(self) -> None: ...
    def regroup(self, groups: frozenset[str]) -> None: ...

    def miss_notice(self) -> None:
        self.missed_notices += 1

    def fall_behind(self, at: Cursor) -> None:
        self.live = False
        self.behind.append(at)

    def close(self, reason: str) -> None:
        self.closed.append(reason)

    def buffered(self) -> int:
        return 0

    def report(self) -> StreamReport:
        raise NotImplementedError

    @property
    def events(self) -> list[SSEEvent]:
        parser = EventParser()
        frames = [chunk.partition(b"\r\n")[2][:-2] for chunk in self.taken]
        return [event for frame in frames for event in parser.feed(frame)]

    @property
    def numbers(self) -> list[int]:
        return [json.loads(event.data)["n"] for event in self.events]


@pytest.fixture
def hub() -> Hub:
    """A hub that hears everyone's events, up to position 100."""
    made = Hub(Wanted())
    made.confirmed("*")
    learn(made, made.everyone, 100)
    return made


def learn(hub: Hub, recipient: Recipient, newest: int) -> None:
    hub.apply_page(recipient, recipient.question(None), Page([], newest, newest, None))


def attach(hub: Hub, user: str, *, newest: int = 200) -> Stream:
    """Open a live stream of `user`, whose inbox ends at `newest`."""
    recipient = hub.enter(user)
    if recipient.newest is None:
        hub.confirmed(user)
        learn(hub, recipient, newest)
    found = Stream(hub, recipient)
    hub.attach(found)
    return found


def event(recipient: object, n: int = 0) -> Event:
    return decode(json.dumps({"recipient_id": recipient, "n": n}).encode())


# --- coming and going ----------------------------------------------------------------------------


def test_only_the_first_and_the_last_stream_of_a_user_change_what_is_wanted() -> None:
    wanted = Wanted()
    hub = Hub(wanted)
    recipients = [hub.enter(user) for user in ("1", "1", "2", "1")]
    assert wanted.said == [("want", "1"), ("want", "2")]
    for recipient in recipients:
        hub.leave(recipient)
    assert wanted.said[2:] == [("drop", "2"), ("drop", "1")]
    assert len(hub) == 0


def test_a_slot_is_taken_before_anything_is_answered_and_given_back() -> None:
    hub = Hub(Wanted(), max_streams=3, max_streams_per_user=2)
    first = hub.enter("1")
    hub.enter("1")
    with pytest.raises(TooManyStreams):
        hub.enter("1")
    hub.enter("2")
    with pytest.raises(NodeFull):
        hub.enter("3")
    assert ("3" in hub, len(hub)) == (False, 3)
    hub.leave(first)
    hub.enter("1")


def test_without_limits_there_are_none() -> None:
    hub = Hub(Wanted())
    for _ in range(1000):
        hub.enter("1")
    assert len(hub) == 1000


async def test_it_is_empty_when_the_last_slot_has_been_given_back(hub: Hub) -> None:
    one, two = hub.enter("1"), hub.enter("2")
    empty = asyncio.create_task(hub.empty())
    hub.leave(one)
    await asyncio.sleep(0)
    assert not empty.done()
    hub.leave(two)
    async with asyncio.timeout(1):
        await empty
        await hub.empty()


def test_the_streams_of_a_user_who_is_revoked_are_closed(hub: Hub) -> None:
    one, other = attach(hub, "1"), attach(hub, "2")
    hub.revoked("1")
    hub.revoked("nobody")
    assert (one.closed, other.closed) == (["revoked"], [])


# --- dispatch ------------------------------------------------------------------------------------


def test_an_ephemeral_event_reaches_every_stream_of_its_recipients_live_or_not(hub: Hub) -> None:
    one, behind, other = attach(hub, "1"), attach(hub, "1"), attach(hub, "2")
    behind.live = False
    hub.ephemeral(event("1", 1))
    hub.ephemeral(event(["1", "2", "absent"], 2))
    hub.ephemeral(event("*", 3))
    hub.ephemeral(event("absent", 4))
    assert [each.numbers for each in (one, behind, other)] == [[1, 2, 3], [1, 2, 3], [2, 3]]
    assert not any(e.id for each in (one, behind, other) for e in each.events)
    assert hub.stats.delivered_live == 8


def test_an_ephemeral_event_to_a_full_socket_is_dropped_and_counted(hub: Hub) -> None:
    full, other = attach(hub, "1"), attach(hub, "1")
    full.full = True
    hub.ephemeral(event("1"))
    assert (len(full.taken), len(other.taken), hub.stats.dropped_full) == (0, 1, 1)
    assert full.behind == []


def test_a_notice_reaches_every_live_stream_of_its_recipient(hub: Hub) -> None:
    one, behind, other = attach(hub, "1"), attach(hub, "1"), attach(hub, "2")
    behind.live = False
    hub.notice("1", "read", b'{"n":1}')
    hub.notice("*", "recalled", b'{"n":2}')
    hub.notice("absent", "read", b'{"n":3}')
    assert [each.numbers for each in (one, behind, other)] == [[1, 2], [], [2]]
    assert (len(behind.later), hub.stats.notices_dropped) == (2, 0)
    assert [(each.event, each.id) for each in one.events] == [
        ("aionotify.read", ""),
        ("aionotify.recalled", ""),
    ]
    assert hub.stats.notices == 3


def test_a_notice_waits_for_who_cannot_take_it_now(hub: Hub) -> None:
    """What it is about may not have been written yet. So many may wait, and no more."""
    full = attach(hub, "1", newest=200)
    full.full = True
    for number in range(3):
        hub.notice("1", "read", b'{"n":%d}' % number)
    assert (full.taken, full.live, full.behind) == ([], False, [Cursor(100, 200)])
    assert hub.stats.fell_behind == 1
    assert (hub.stats.notices, hub.stats.notices_dropped, full.missed_notices) == (3, 1, 1)


@pytest.mark.parametrize("recipient", ["1", "*"])
def test_an_entry_without_an_event_is_known_and_nothing_is_written(
    hub: Hub, recipient: str
) -> None:
    """Whether it is heard or read; what comes next follows on from it."""
    one = attach(hub, "1", newest=100)
    inbox = hub.everyone if recipient == "*" else one.recipient
    hub.durable(recipient, Entry(110, 100, None))
    assert inbox.newest == 110
    question = inbox.question(110)
    hub.apply_page(inbox, question, Page([Entry(120, 110, None)], 120, 120, None))
    assert (inbox.newest, one.taken) == (120, [])
    hub.durable(recipient, Entry(130, 120, event(recipient, 1)))
    assert (one.numbers, one.behind) == ([1], [])


@pytest.mark.parametrize("recipient", ["1", "*"])
def test_an_event_that_is_too_old_is_known_and_not_written(recipient: str) -> None:
    """By the clock in Redis, whatever time it is here."""
    clock = 0
    hub = Hub(Wanted(), clock=lambda: clock)
    hub.confirmed("*")
    learn(hub, hub.everyone, 100)
    one = attach(hub, "1", newest=100)
    inbox = hub.everyone if recipient == "*" else one.recipient

    def expiring(n: int) -> Event:
        options = {"expires_in": 5}
        return decode(
            json.dumps({"recipient_id": recipient, "n": n, "aionotify": options}).encode()
        )

    clock = 5_000_109
    hub.durable(recipient, Entry(110, 100, expiring(1)))
    hub.durable(recipient, Entry(112, 110, expiring(2)))
    clock = 5_000_114
    hub.durable(recipient, Entry(114, 112, expiring(3)))
    question = inbox.question(114)
    page = [Entry(116, 114, event(recipient, 4)), Entry(118, 116, expiring(5))]
    clock = 5_000_118
    hub.apply_page(inbox, question, Page(page, 118, 118, None))
    assert (one.numbers, one.behind, inbox.newest) == ([1, 2, 4], [], 118)
    assert hub.stats.dropped_expired == 2


def test_a_durable_event_carries_where_its_reader_then_is(hub: Hub) -> None:
    one, other = attach(hub, "1", newest=200), attach(hub, "2", newest=300)
    hub.durable("1", Entry(210, 200, event("1", 1)))
    hub.durable("*", Entry(110, 100, event("*", 2)))
    hub.durable("1", Entry(220, 210, event("1", 3)))
    assert (one.numbers, other.numbers) == ([1, 2, 3], [2])
    cursors = [parse(each.id, "1") for each in one.events]
    assert cursors == [Cursor(100, 210), Cursor(110, 210), Cursor(110, 220)]
    assert parse(other.events[0].id, "2") == Cursor(110, 300)


def test_a_durable_event_waits_for_who_is_not_live(hub: Hub) -> None:
    reading = attach(hub, "1")
    reading.live = False
    hub.durable("1", Entry(210, 200, event("1")))
    hub.durable("*", Entry(110, 100, event("*")))
    assert reading.taken == []
    assert hub.position(reading.inboxes) == Cursor(110, 210)


def test_an_event_heard_again_is_not_written_again(hub: Hub) -> None:
    one = attach(hub, "1")
    for _ in range(2):
        hub.durable("1", Entry(210, 200, event("1", 1)))
    assert (one.numbers, one.behind, hub.stats.events_repeated) == ([1], [], 1)


def test_an_event_heard_after_it_was_read_is_not_written_again(hub: Hub) -> None:
    one = attach(hub, "1", newest=200)
    entries = [Entry(200 + 2 * n, 198 + 2 * n, event("1", n)) for n in (1, 2, 3)]
    hub.apply_page(one.recipient, one.recipient.question(200), Page(entries, 206, 206, None))
    for entry in entries:
        hub.durable("1", entry)
    assert (one.numbers, one.behind, hub.stats.events_repeated) == ([1, 2, 3], [], 3)


@pytest.mark.parametrize("user", ["1", "*"])
@pytest.mark.parametrize("ahead", [20, 30_000_000, 10**15])
def test_a_message_from_the_future_hides_no_event_that_comes_after_it(
    hub: Hub, user: str, ahead: int
) -> None:
    """However far ahead of Redis' clock it is, its readers go by what the inbox says."""
    one = attach(hub, "1", newest=100)
    hub.durable(user, Entry(100 + ahead, 100, event(user, 666)))
    hub.durable(user, Entry(110, 100, event(user, 1)))
    assert one.numbers == [666]
    assert one.behind == [Cursor(*(100 + ahead * (user == whose) for whose in ("*", "1")))]
    recipient = hub.everyone if user == "*" else one.recipient
    assert recipient.newest is None  # to be read


def test_what_was_ahead_when_it_was_read_and_is_gone_hides_no_event(hub: Hub) -> None:
    """Redis' clock was set back, and the inbox has expired since."""
    one = attach(hub, "1", newest=100 + 3600 * 10**6)
    hub.durable("1", Entry(110, 91, event("1", 1)))
    assert (one.numbers, one.recipient.newest) == ([], None)
    assert one.behind == [Cursor(100, 100 + 3600 * 10**6)]


def test_an_event_that_does_not_follow_on_sends_its_readers_to_the_inbox(hub: Hub) -> None:
    one, other = attach(hub, "1"), attach(hub, "2")
    hub.durable("1", Entry(230, 220, event("1")))
    assert (one.behind, one.taken, other.behind) == ([Cursor(100, 200)], [], [])
    hub.durable("*", Entry(130, 120, event("*")))
    assert (one.behind, other.behind) == ([Cursor(100, 200)], [Cursor(100, 200)])
    assert hub.stats.missed == 2


def test_what_comes_after_an_inbox_was_empty_is_new_even_when_a_clock_was_set_back(
    hub: Hub,
) -> None:
    one = attach(hub, "1", newest=201)
    hub.durable("1", Entry(150, 0, event("1", 1)))
    assert (one.numbers, one.behind) == ([1], [])


def test_a_full_reader_goes_back_to_before_what_it_could_not_take(hub: Hub) -> None:
    one, other = attach(hub, "1"), attach(hub, "1")
    one.full = True
    hub.durable("1", Entry(210, 200, event("1")))
    assert (one.behind, other.behind) == ([Cursor(100, 200)], [])
    other.full = True
    hub.durable("*", Entry(110, 100, event("*")))
    assert other.behind == [Cursor(100, 210)]
    assert hub.stats.fell_behind == 2


def test_a_connection_that_is_lost_or_new_sends_all_to_their_inboxes(hub: Hub) -> None:
    streams = [attach(hub, user) for user in ("1", "2", "2")]
    hub.lost()
    assert [each.behind for each in streams] == [[Cursor(100, 200)]] * 3
    assert hub.position(streams[0].inboxes) is None
    assert not hub.everyone.subscribed
    for each in streams:
        each.live = True
    hub.confirmed("*")
    learn(hub, hub.everyone, 100)
    hub.confirmed("2")
    assert hub.position(streams[1].inboxes) is None


async def test_whoever_waits_to_be_heard_is_told_and_whoever_leaves_is_forgotten(hub: Hub) -> None:
    recipient = hub.enter("1")
    waiting = [asyncio.create_task(recipient.wait_subscribed()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    hub.confirmed("1")
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting[1:])
        await recipient.wait_subscribed()
    assert recipient._waiters == set()


def test_what_is_heard_of_somebody_who_has_left_is_of_no_interest(hub: Hub) -> None:
    hub.leave(hub.enter("1"))
    hub.confirmed("1")
    hub.durable("1", Entry(210, 200, event("1")))
    hub.ephemeral(event("1"))
    assert "1" not in hub


# --- what it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("send", ["ephemeral", "durable to one", "durable to everyone"])
def test_an_event_is_encoded_once_however_many_streams_it_is_for(
    hub: Hub, send: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [attach(hub, "1" if send == "durable to one" else str(n)) for n in range(100)]
    made: list[bytes] = []

    def counted(*args: Any) -> bytes:
        made.append(framed_chunk(*args))
        return made[-1]

    monkeypatch.setattr("aionotify.streams.hub.framed_chunk", counted)
    match send:
        case "ephemeral":
            hub.ephemeral(event("*"))
        case "durable to one":
            hub.durable("1", Entry(210, 200, event("1")))
        case "durable to everyone":
            hub.durable("*", Entry(110, 100, event("*")))
    assert all(len(each.taken) == 1 for each in streams)
    assert len(made) == 1


def test_a_failure_while_events_are_held_back_leaves_nothing_held(hub: Hub) -> None:
    """Or all streams would wait for what is heard together next."""
    one = attach(hub, "1", newest=200)
    broken = msgspec.structs.replace(event("1"), _own={})  # has no data for "1"
    page = Page([Entry(210, 200, broken)], 210, 210, None)
    with pytest.raises(KeyError):
        hub.apply_page(one.recipient, one.recipient.question(200), page)
    assert not hub.holds


async def test_what_is_heard_together_leaves_in_one_write_and_what_comes_alone_at_once(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with embedded(redis_server.url) as (url, services), stream(url, "42") as client:
        await client.wait_events(1)
        [open_] = services.hub.streams()
        await eventually(lambda: open_.live)
        writes: list[int] = []
        send = real.Stream._send

        def counted(self: real.Stream, data: bytes) -> None:
            writes.append(len(data))
            send(self, data)

        monkeypatch.setattr(real.Stream, "_send", counted)
        messages = [{"recipient_id": "42", "n": n} for n in range(10)]
        async with Redis.from_url(redis_server.url) as redis, redis.pipeline() as pipeline:
            for message in messages:
                pipeline.publish(CHANNEL, json.dumps(message))
            await pipeline.execute()
        assert [each["n"] for each in await received(client, 10)] == list(range(10))
        assert len(writes) == 1
        publish(redis_server, {"recipient_id": "42", "n": 10})
        await received(client, 11)
        assert len(writes) == 2
