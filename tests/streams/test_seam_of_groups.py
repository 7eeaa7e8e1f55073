"""Groups: whatever happens in whatever order, what is for one's groups comes once and in order.

The world of `test_seam`, with groups: several in each of two shards, events for one of them, and
for several and for users at the same time.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aionotify.events.cursor import Cursor
from aionotify.events.event import EVERYONE, Event, decode
from aionotify.events.group import GroupId, Ordered, Receiver, mark, shard_of
from aionotify.events.page import Entry, GapReason, Page
from aionotify.streams.recipient import Group, Recipient, shards_of
from aionotify.streams.stream import Stream, StreamSettings
from tests.streams import test_seam as seam
from tests.streams.test_seam import (
    PAGE,
    RETENTION,
    SECOND,
    USERS,
    Step,
    check,
    check_told,
    clocks,
    losses,
    play,
)

FIRST, SECOND_SHARD = 1, 2


def named(shard: int, count: int) -> list[str]:
    """Some groups that lie in a shard."""
    names = (f"team:{number}" for number in range(1000))
    return [name for name in names if shard_of(name) == shard][:count]


A, B, C = named(FIRST, 3)
[D] = named(SECOND_SHARD, 1)
OF = {"alice": (A, B, D), "bob": (B, C)}
ADDRESSES: list[tuple[Receiver, ...]] = [
    (EVERYONE,),
    ("alice",),
    (GroupId(A),),
    (GroupId(B),),
    (GroupId(C),),
    (GroupId(D),),
    (GroupId(D), GroupId(A)),
    ("alice", GroupId(B)),
    ("bob", GroupId(A), GroupId(B), GroupId(C), GroupId(D)),
]


class Redis(seam.Redis):
    """What append.lua and read.lua do for groups, in a few lines."""

    def publish(self, id: str, late: int = 0, options: bytes = b"") -> None:
        self.publish_to((id,), late, options)

    def publish_to(
        self, receivers: tuple[Receiver, ...], late: int = 0, options: bytes = b""
    ) -> None:
        number = len(self.published)
        users = [each for each in receivers if isinstance(each, str)]
        groups = [each.name for each in receivers if not isinstance(each, str)]
        given = {"recipient_id": users[0] if users == [EVERYONE] else users, "group_id": groups}
        members = {name: ids for name, ids in given.items() if ids}
        text = json.dumps(members | {"n": number}).encode()
        event = decode(b"{%b%b" % (options, text[1:]))
        self.published.append({})
        for each in event.receivers:
            self._append(number, event, each, late)

    def _append(self, number: int, event: Event, receiver: Receiver, late: int) -> None:
        time, data = self.tick(), self.data
        now = max(time, self.known[-1 - min(late, len(self.known) - 1)])
        of = receiver if isinstance(receiver, str) else shard_of(receiver.name)
        inbox, order = data.inboxes[receiver], data.inboxes[of]
        oldest = max(now - RETENTION * SECOND, data.since) | 1
        previous = order[-1].position if order else oldest
        own = inbox[-1].position if inbox else oldest
        position = max(now, previous + 1, own + 1)
        position += 2 * (number % 500) * (position > time)
        position += position % 2
        self.published[number][receiver] = of, position
        copy = decode(event.stored(receiver))
        before = event.receivers[: event.receivers.index(receiver)]
        marks = frozenset(map(mark, before))
        group = b"" if isinstance(receiver, str) else mark(receiver)
        if group:
            order.append(Entry(position, previous, copy))
            data.expires[of] = max(time, position) + RETENTION * SECOND
        inbox.append(Entry(position, own, copy, group, marks if group else frozenset()))
        while inbox[0].position < now - RETENTION * SECOND:
            del inbox[0]
        data.expires[receiver] = max(time, position) + RETENTION * SECOND
        for wire in self.subscribers:
            if of in wire.channels:
                wire.messages.append((of, inbox[-1]._replace(previous=previous)))

    def group_page(
        self,
        shard: int,
        groups: tuple[str, ...],
        after: int,
        asked: tuple[int, ...],
        floor: int,
        settled: int,
    ) -> Page:
        self.tick()
        now = max(self.time, floor)
        oldest = max(now - RETENTION * SECOND, self.data.since)
        positions = [entry.position for entry in self.data.inboxes[shard]]

        def is_denied(position: int) -> bool:
            if not positions:
                return position > oldest
            return position >= positions[0] and position not in positions

        denied = tuple(filter(is_denied, asked))
        if not positions:
            return self.page(shard, after, floor, settled)._replace(denied=denied)
        newest = positions[-1]
        gap = GapReason.UNKNOWN if after == 0 else None
        if after >= newest:
            lost = after > newest and (after > now + 1 or not after & 1)
            return Page([], newest, newest, GapReason.LOST if lost else gap, denied)
        inboxes = [self.data.inboxes[GroupId(name)] for name in groups]
        found = [entry for inbox in inboxes for entry in inbox if entry.position > after]
        for inbox in inboxes:
            trimmed = after < (inbox[0].previous if inbox else oldest)
            if trimmed and not (inbox and inbox[-1].position <= after):
                gap = gap or GapReason.TRIMMED
        if not after & 1 and after and is_denied(after):
            gap = GapReason.LOST
        entries = [
            entry._replace(previous=entry.position - 1)
            for entry in sorted(found, key=lambda entry: entry.position)
        ]
        upto = entries[PAGE - 1].position if len(entries) > PAGE else newest
        return Page(entries[:PAGE], upto, newest, gap, denied)


class Node(seam.Node):
    redis: Redis

    def dispatch(self, id: Ordered, entry: Entry) -> None:
        if isinstance(id, str):
            self.hub.durable(id, entry)
        else:
            self.hub.durable_to_group(id, entry)

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> "asyncio.Future[Page]":
        return self.ask(
            lambda: self.redis.group_page(
                shard, groups, after, asked, self.floor, self.settling.position
            )
        )


class Client(seam.Client):
    """A client whose user is in the groups of `OF`."""

    def is_(self, receiver: Receiver) -> bool:
        if isinstance(receiver, str):
            return super().is_(receiver)
        return receiver.name in OF[self.user]

    async def start(self, node: seam.Node, recipient: Recipient) -> tuple[Cursor, str | None]:
        self.entered = node.hub.enter_groups(OF[self.user])
        if self.cursor is not None:
            return self.cursor, self.epoch
        inboxes = (node.hub.everyone, recipient, *shards_of(self.entered))
        return await node.start_positions.find(inboxes), node.hub.epoch

    def stream(
        self,
        node: seam.Node,
        recipient: Recipient,
        settings: StreamSettings,
        start: Cursor,
        epoch: str | None,
    ) -> Stream:
        return Stream(
            settings,
            node.hub,
            recipient,
            node,
            node.heartbeat,
            start=start,
            epoch=epoch,
            groups=self.entered,
        )

    def leave(self, node: seam.Node, recipient: Recipient) -> None:
        super().leave(node, recipient)
        node.hub.leave_groups(self.entered)

    entered: tuple[Group, ...] = ()


class World(seam.World):
    redis: Redis

    def __init__(self, trouble: Callable[[seam.World], list[Step]]) -> None:
        super().__init__(trouble)
        self.redis = Redis()
        self.nodes = [Node(self.redis), Node(self.redis)]
        self.clients = [Client(user, self.nodes) for user in USERS * 2]

    def publish_to_all(self) -> None:
        for receivers in ADDRESSES:
            self.redis.publish_to(receivers)

    def possible(self) -> list[Step]:
        steps: list[Step] = [partial(self.redis.publish_to, each) for each in ADDRESSES]
        steps += [partial(self.redis.publish_to, (GroupId(B),), late=40)]
        return [*steps, *super().possible()]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that waits for something asks again in the next step of the loop."""
    for name in ("_RETRY_INTERVAL", "_HEARD_INTERVAL"):
        monkeypatch.setattr(f"aionotify.streams.catch_up.{name}", (0.0, 0.0))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_no_event_of_a_group_is_lost_repeated_or_out_of_order(choices: list[int]) -> None:
    asyncio.run(play(choices, made=World))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_clocks_that_are_set_cost_no_group_anything(choices: list[int]) -> None:
    asyncio.run(play(choices, clocks, check, made=World))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_redis_loses_of_a_group_is_told(choices: list[int]) -> None:
    asyncio.run(play(choices, losses, check_told, made=World))
