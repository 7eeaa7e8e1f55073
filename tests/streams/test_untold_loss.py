"""Where a client is told that events are gone: once, between those before them and those after."""

import asyncio
import itertools
import re
from collections.abc import Sequence

import pytest

from aionotify.errors import BrokerUnavailable
from aionotify.events.cursor import Cursor, parse
from aionotify.events.event import decode
from aionotify.events.group import Ordered
from aionotify.events.page import Entry, GapReason, Page
from aionotify.events.position import Question, doubt
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.stream import Stream, StreamSettings
from tests.harness import eventually

FIRST, EVERYONE, HAD, LOST, LATER = 890, 900, 1000, 1002, 1004  # positions


class Interest:
    def want(self, of: Ordered) -> None:
        pass

    def drop(self, of: Ordered) -> None:
        pass


class Inbox:
    """Redis' inboxes; each position is that of an event. `silent` while it does not answer."""

    def __init__(self, own: Sequence[int] = (HAD,), everyone: Sequence[int] = (EVERYONE,)) -> None:
        self.silent = False
        self.positions = {"42": own, "*": everyone}

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> asyncio.Future[Page]:
        raise NotImplementedError

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        if self.silent:
            answer.set_exception(BrokerUnavailable("not just now"))
            return answer
        positions = self.positions[recipient_id]
        event = decode(b'{"recipient_id": "%b"}' % recipient_id.encode())
        entries = [
            Entry(position, previous, event)
            for previous, position in itertools.pairwise((FIRST, *positions))
            if position > after
        ]
        is_there = after & 1 or after in (FIRST, *positions)
        gap = None if is_there else GapReason.LOST
        answer.set_result(Page(entries, positions[-1], positions[-1], gap))
        return answer


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def node() -> Hub:
    """A hub that hears, and knows of one event for everyone and one for user 42."""
    hub = Hub(Interest())
    hub.epoch = "abcdef"
    recipient = hub.enter("42")
    for each, newest in ((hub.everyone, EVERYONE), (recipient, HAD)):
        each.confirm()
        each.set_newest(newest)
    return hub


class Client:
    """Of user 42, with a stream from a cursor on."""

    def __init__(self, hub: Hub, inbox: Inbox, own: int, everyone: int = EVERYONE) -> None:
        self.transport = Transport()
        self.stream = Stream(
            *(StreamSettings(), hub, hub.enter("42"), inbox, Heartbeat(15)),
            start=Cursor(everyone, own),
            epoch="abcdef",
        )
        self.stream.begin(self.transport, lambda stream: None)

    async def seen(self) -> list[tuple[str, int]]:
        """What it got, once it is live, as reasons of gaps and positions; each with the own
        position in its cursor.
        """
        await eventually(lambda: self.stream.live)
        found = []
        for block in self.transport.written.decode().split("\n\n"):
            if (id := re.search("^id: (.+)$", block, re.MULTILINE)) is None:
                continue
            at = parse(id[1], "42")
            assert at is not None
            reason = re.search('"reason":"([a-z]+)"', block)
            found.append((reason[1] if reason else "event", at.own))
        return found


def lose(hub: Hub, own: Sequence[int]) -> None:
    """Have the node find out that user 42 has these events only, and none at LOST."""
    recipient = hub.enter("42")
    doubt(recipient.doubts, 1, LOST)
    answer = Inbox(own).read("42", FIRST)
    hub.apply_page(recipient, recipient.question(FIRST), answer.result())


@pytest.mark.parametrize("where", ["own", "everyone"])
async def test_a_loss_is_told_by_a_stream_that_never_got_to_read(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another stream has read for it meanwhile that nothing is left to be read."""
    hub, inbox = node(), Inbox()
    inbox.silent = True
    behind = hub.enter("42") if where == "own" else hub.everyone
    behind.set_newest(LOST)  # which the stream is still to read
    pause, waited = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.set()
        await pause.wait()

    monkeypatch.setattr("aionotify.streams.catch_up.asyncio.sleep", sleep)
    client = Client(hub, inbox, HAD)
    await waited.wait()
    behind.gone = LOST | 1
    behind.set_newest(HAD if where == "own" else EVERYONE)
    inbox.silent = False
    pause.set()
    monkeypatch.undo()
    assert [what for what, _ in await client.seen()] == ["lost"]
    assert client.stream.is_caught_up()


async def test_a_loss_is_told_after_what_was_before_it_and_before_what_came_later() -> None:
    """A client that is told too early believes, at what comes next, that nothing is missing."""
    hub, inbox = node(), Inbox(own=(HAD, LATER))
    lose(hub, (HAD, LATER))
    client = Client(hub, inbox, FIRST)
    assert await client.seen() == [("event", HAD), ("lost", LOST + 1), ("event", LATER)]


@pytest.mark.parametrize("later", [(), (LATER,)])
async def test_a_loss_is_told_once_also_to_who_comes_back(later: tuple[int, ...]) -> None:
    """Whoever comes from before it has not been told, and whoever comes with the cursor of what he
    was told has.
    """
    hub, inbox = node(), Inbox(own=(HAD, *later))
    lose(hub, inbox.positions["42"])
    client = Client(hub, inbox, HAD)
    told, *events = await client.seen()
    assert told[0] == "lost"
    assert events == [("event", position) for position in later]
    for _, at in (told, *events):
        assert "lost" not in [what for what, _ in await Client(hub, inbox, at).seen()]
    assert (await Client(hub, inbox, HAD).seen())[0] == told


async def test_whoever_is_told_has_what_is_stored_right_after_it() -> None:
    """Nothing has come since the loss: the next event may have any position beyond the last one
    that is there.
    """
    hub, inbox = node(), Inbox(own=(HAD,))
    lose(hub, (HAD,))
    [(told, at)] = await Client(hub, inbox, HAD).seen()
    assert (told, at) == ("lost", HAD + 1)
    inbox.positions["42"] = (HAD, HAD + 2)
    hub.enter("42").set_newest(HAD + 2)
    assert await Client(hub, inbox, at).seen() == [("event", HAD + 2)]


async def test_who_is_live_when_a_loss_is_found_is_told() -> None:
    hub, inbox = node(), Inbox(own=(HAD,))
    client = Client(hub, inbox, HAD)
    assert await client.seen() == []
    lose(hub, (HAD,))
    assert await client.seen() == [("lost", HAD + 1)]


async def test_a_loss_in_both_inboxes_is_told_once() -> None:
    hub, inbox = node(), Inbox(own=(HAD, LATER), everyone=(EVERYONE, LATER + 2))
    lose(hub, (HAD, LATER))
    doubt(hub.everyone.doubts, 1, LOST)
    answer = inbox.read("*", FIRST)
    hub.apply_page(hub.everyone, hub.everyone.question(FIRST), answer.result())
    seen = await Client(hub, inbox, LOST, LOST).seen()
    assert [what for what, _ in seen] == ["lost", "event", "event"]
    seen = await Client(hub, inbox, HAD).seen()
    assert [what for what, _ in seen] == ["lost", "event", "event"]


async def test_what_others_come_with_pushes_no_event_out_that_may_be_gone() -> None:
    """After a failover many clients come from nodes that have heard more than this one."""
    hub = node()
    recipient = hub.enter("42")
    hub.acknowledged("42", LOST)
    hub.confirmed("42")  # by another server
    asked = Question(LATER, None, recipient.confirmations - 1)
    later = range(LATER, LATER + 40, 2)
    for newest in later:
        hub.apply_page(recipient, asked, Page([], newest, newest, None))
        hub.apply_page(recipient, recipient.question(newest), Page([], newest, newest, None))
    answer = Inbox(own=(HAD, *later)).read("42", HAD)
    hub.apply_page(recipient, recipient.question(HAD), answer.result())
    assert recipient.gone == LOST | 1


async def test_what_two_servers_have_stored_while_nothing_was_heard_is_kept_apart() -> None:
    """The node publishes through a failover: the second server has what it stored, and not what
    the first one did.
    """
    hub = node()
    recipient = hub.enter("42")
    hub.lost()
    stored_then = LOST + 3_000_000
    for position in (LOST, stored_then):
        hub.acknowledged("42", position)
    recipient.confirm()
    answer = Inbox(own=(HAD, stored_then)).read("42", HAD)
    hub.apply_page(recipient, recipient.question(HAD), answer.result())
    assert recipient.gone == LOST | 1


async def test_an_event_for_everyone_says_that_its_reader_was_told() -> None:
    hub, inbox = node(), Inbox()
    lose(hub, (HAD,))
    client = Client(hub, inbox, HAD)
    await client.seen()
    hub.durable("*", Entry(LATER, EVERYONE, decode(b'{"recipient_id": "*"}')))
    assert await client.seen() == [("lost", HAD + 1), ("event", HAD + 1)]


async def test_a_loss_of_what_was_left_by_another_one_is_told_as_well() -> None:
    """Also where nothing has come between the two."""
    hub, inbox = node(), Inbox(own=(FIRST + 2, HAD))
    lose(hub, inbox.positions["42"])
    client = Client(hub, inbox, HAD)
    assert await client.seen() == [("lost", HAD + 1)]
    inbox.positions["42"] = (FIRST + 2,)
    hub.confirmed("42")
    assert (await client.seen())[1:] == [("lost", FIRST + 3)]
