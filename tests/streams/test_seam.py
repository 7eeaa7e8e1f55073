"""Catch-up and live, joined: whatever happens in whatever order, nothing is lost or repeated.

Real hubs and streams, over a Redis, a network and clients that are a few lists here, so that each
step (a command reaches Redis, a message reaches a node, a connection breaks, a client stops
reading, moves to another node) can be put before or after each other.
"""

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aionotify.errors import BrokerUnavailable
from aionotify.events import cursor
from aionotify.events.cursor import EPOCH_CHARS, EPOCH_LETTERS, Cursor
from aionotify.events.event import EVERYONE, decode
from aionotify.events.frame import chunk
from aionotify.events.group import GroupId, Ordered, Receiver
from aionotify.events.page import Entry, GapReason, Page
from aionotify.events.position import Settling
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Recipient
from aionotify.streams.start_position import StartPositions
from aionotify.streams.stream import Stream, StreamSettings
from tests.harness import EventParser

Copies = dict[Receiver, tuple[Ordered, int]]
"""Whose copies of an event there are, and of each in whose order it is, and its position."""

Step = Callable[[], Coroutine[Any, Any, None] | None]

USERS = ("alice", "bob")
DEADLINES = Deadlines(60)
PROBE = ""  # whose message it is
PAGE = 2  # events at a time, so that most catch-ups take several pages


RETENTION = 60  # seconds
SECOND = 1_000_000  # microseconds
TICK = SECOND // 20


@dataclass
class Data:
    """What is in Redis: with an epoch once somebody has asked for it."""

    epoch: str | None = None
    clock: int = 0
    since: int = 0
    inboxes: dict[Ordered | GroupId, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    # microseconds, by Redis' own time
    expires: dict[Ordered | GroupId, int] = field(default_factory=dict)

    def copy(self) -> "Data":
        inboxes = defaultdict(list, {id: list(inbox) for id, inbox in self.inboxes.items()})
        return Data(self.epoch, self.clock, self.since, inboxes, dict(self.expires))


class Redis:
    """Inboxes, subscriptions, and a time that may be set.

    What its scripts do, in a few lines: probe.lua, append.lua, read.lua.

    Attributes:
        passed: real microseconds.
        off: by how much its time is something else.
        published: all that ever was, by number: each receiver's copy.
        optional: the numbers of events that were taken out of their inbox again, or expire.
        known: the latest clock that somebody had learned, at each tick.
    """

    def __init__(self) -> None:
        self.passed = 1_000_000 * SECOND
        self.off = 0
        self.data = Data()
        self.kept = Data()  # an older state
        self.epochs = itertools.product(EPOCH_LETTERS, repeat=EPOCH_CHARS)
        self.published: list[Copies] = []
        self.optional: set[int] = set()
        self.known = [self.passed]
        self.subscribers: list[Wire] = []

    @property
    def time(self) -> int:
        return self.passed + self.off

    def tick(self) -> int:
        self.passed += TICK
        for id, expires in list(self.data.expires.items()):
            if expires <= self.time:
                self.data.inboxes[id] = []
                del self.data.expires[id]
        self.known.append(max(self.known[-1], self.probe(0)))
        return self.time

    def probe(self, floor: int) -> int:
        data = self.data
        data.epoch = data.epoch or "".join(next(self.epochs))
        data.clock = max(self.time, data.clock, floor)
        data.since = max(data.since, data.clock - RETENTION * SECOND)
        return data.clock

    def publish(self, id: str, late: int = 0, options: bytes = b"") -> None:
        """By somebody who has learned the clock so many ticks ago."""
        time, data = self.tick(), self.data
        now = max(time, self.known[-1 - min(late, len(self.known) - 1)])
        inbox = data.inboxes[id]
        oldest = max(now - RETENTION * SECOND, data.since)
        previous = inbox[-1].position if inbox else oldest | 1
        position = max(now, previous + 1)
        position += 2 * (len(self.published) % 500) * (position > time)
        position += position % 2
        number = len(self.published)
        event = decode(b'{%b"recipient_id": "%b", "n": %d}' % (options, id.encode(), number))
        self.published.append({id: (id, position)})
        inbox.append(Entry(position, previous, event))
        while inbox[0].position < now - RETENTION * SECOND:
            del inbox[0]
        data.expires[id] = max(time, position) + RETENTION * SECOND
        for wire in self.subscribers:
            if id in wire.channels:
                wire.messages.append((id, inbox[-1]))

    def publish_expiring(self, id: str) -> None:
        """Publish an event that is too old after two ticks."""
        self.optional.add(len(self.published))
        self.publish(id, options=b'"aionotify": {"expires_in": 0.1}, ')

    def replace(self, id: str, index: int) -> None:
        """Publish an event that takes the place of an older one."""
        self._take_out(id, index)
        self.publish(id)

    def recall(self, id: str, index: int) -> None:
        for number in self._take_out(id, index):
            for wire in self.subscribers:
                if id in wire.channels:
                    wire.messages.append((id, b'{"n": %d}' % number))

    def _take_out(self, id: str, index: int) -> list[int]:
        """Take an event out of its inbox; return the number of it, if there was one."""
        inbox = self.data.inboxes[id]
        if not inbox or inbox[index % len(inbox)].event is None:
            return []
        entry = inbox[index % len(inbox)]
        inbox[index % len(inbox)] = entry._replace(event=None)
        at = id, entry.position
        [number] = (n for n, copies in enumerate(self.published) if copies.get(id) == at)
        self.optional.add(number)
        return [number]

    def page(self, id: Ordered, after: int | None, floor: int, settled: int) -> Page:
        self.tick()
        now = max(self.time, floor)
        oldest = max(now - RETENTION * SECOND, self.data.since)
        inbox = self.data.inboxes[id]
        newest = inbox[-1].position if inbox else max(settled, oldest | 1)
        if after is None or after == newest:
            return Page([], newest, newest, None)
        gone = GapReason.LOST if after > max(now, newest) + 1 or not after & 1 else None
        if not inbox:
            trimmed = GapReason.TRIMMED if after < oldest else gone
            trimmed = GapReason.LOST if after > now + 1 else trimmed
            return Page([], newest, newest, GapReason.UNKNOWN if after == 0 else trimmed)
        if after > newest:
            return Page([], newest, newest, gone)
        entries = [entry for entry in inbox if entry.position > after]
        upto = entries[PAGE - 1].position if len(entries) > PAGE else newest
        first = entries[0].previous
        known = after & 1 or after == first
        gap = None if known else GapReason.LOST
        if entries[0] is inbox[0] and after < first:
            gap = GapReason.TRIMMED
        return Page(entries[:PAGE], upto, newest, GapReason.UNKNOWN if after == 0 else gap)

    def step(self, seconds: float) -> None:
        """Have somebody set its time."""
        self.off += round(seconds * SECOND)

    def keep(self) -> None:
        """Write what there is to disk."""
        self.kept = self.data.copy()

    def stored(self) -> set[tuple[Receiver | Ordered, int]]:
        """Whose copies are there, by their positions."""
        return {(id, entry.position) for id, inbox in self.data.inboxes.items() for entry in inbox}

    def wipe(self) -> None:
        self.data = Data()
        self.kept = Data()

    def fall_back(self) -> None:
        """Go on with what is on disk."""
        self.data = self.kept.copy()


class Wire:
    """The subscribing connection of a node: commands one way, messages and answers the other."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.commands: deque[tuple[bool, Ordered]] = deque()
        self.channels: set[Ordered] = set()
        # Of a recipient: an event, a notice, or that it is heard; and the clock at a probe.
        self.messages: deque[tuple[Ordered, Entry | bytes | int | None]] = deque()

    def carry_out(self) -> None:
        join, id = self.commands.popleft()
        if join:
            self.channels.add(id)
            self.messages.append((id, None))
        else:
            self.channels.discard(id)


class Node:
    """A hub, with what a subscriber does for it and how an inbox answers it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.hub = Hub(self, clock=lambda: self.floor)
        self.start_positions = StartPositions(self.hub, self, DEADLINES, together=0)
        self.heartbeat = Heartbeat(60)
        self.wanted: set[Ordered] = {EVERYONE}
        self.wire: Wire | None = None
        self.floor = 0
        self.epoch: str | None = None
        self.settling = Settling()
        self.asked: deque[tuple[Callable[[], Page], bool, asyncio.Future[Page]]] = deque()
        self.answers: deque[tuple[asyncio.Future[Page], Page]] = deque()
        self.connect()

    def want(self, of: Ordered) -> None:
        self.wanted.add(of)
        if self.wire is not None:
            self.wire.commands.append((True, of))

    def drop(self, of: Ordered) -> None:
        self.wanted.remove(of)
        if self.wire is not None:
            self.wire.commands.append((False, of))

    def connect(self) -> None:
        self.wire = Wire(self.redis)
        self.redis.subscribers.append(self.wire)
        self.wire.commands.extend((True, id) for id in sorted(self.wanted, key=str))
        self.floor = self.redis.probe(self.floor)
        self.epoch = self.redis.data.epoch
        if not self.settling.position:
            self._settle(self.floor)
        self._know()

    def probe(self) -> None:
        """Ask what time it is, in a message to itself."""
        assert self.wire is not None
        self.redis.tick()
        self.floor = self.redis.probe(self.floor)
        self.wire.messages.append((PROBE, self.floor))
        if self.epoch != self.redis.data.epoch:
            self.lose()  # with what was published by the other data set
            self.connect()
        self._know()

    def _settle(self, clock: int) -> None:
        self.settling.see(self.redis.passed / SECOND, clock, RETENTION)

    def _know(self) -> None:
        self.hub.know(self.epoch, self.settling.position, RETENTION)

    def lose(self) -> None:
        """Lose the connection, with all that is on its way."""
        if self.wire is not None:
            self.redis.subscribers.remove(self.wire)
            self.wire = None
            self.hub.lost()

    def hear(self) -> None:
        assert self.wire is not None
        id, entry = self.wire.messages.popleft()
        if isinstance(entry, int):
            self._settle(entry)
            self._know()
        elif isinstance(entry, bytes):
            if id in self.wanted and isinstance(id, str):
                self.hub.notice(id, "recalled", entry)
        elif entry is not None:
            if id in self.wanted:
                self.dispatch(id, entry)
        elif id in self.wanted:
            self.hub.confirmed(id)

    def dispatch(self, id: Ordered, entry: Entry) -> None:
        self.hub.durable(id, entry)

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        return self.ask(self._page(recipient_id, after))

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> asyncio.Future[Page]:
        raise NotImplementedError

    def _page(self, id: Ordered, after: int | None) -> Callable[[], Page]:
        return lambda: self.redis.page(id, after, self.floor, self.settling.position)

    def ask(self, question: Callable[[], Page], *, fails: bool = True) -> asyncio.Future[Page]:
        """Ask what is answered in a step of its own; `fails` where it may be left unanswered."""
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.asked.append((question, fails, answer))
        return answer

    async def newest(self, of: Sequence[Ordered]) -> list[Page | Exception]:
        asked = [self.ask(self._page(id, None), fails=False) for id in of]
        return [await answer for answer in asked]

    def answer(self) -> None:
        question, _, future = self.asked.popleft()
        self.answers.append((future, question()))

    def fail(self) -> None:
        """Have Redis not answer the question that it has had for longest."""
        _, _, future = self.asked.popleft()
        if not future.done():
            future.set_exception(BrokerUnavailable("not just now"))

    def publish(self, id: str) -> None:
        """Be who publishes: the answer comes before the message."""
        self.redis.publish(id)
        for of, position in self.redis.published[-1].values():
            self.hub.acknowledged(of, position)

    def hear_answer(self) -> None:
        future, page = self.answers.popleft()
        if not future.done():
            future.set_result(page)


class Socket(asyncio.Transport):
    """A client's end; `full` while it takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.full = self.lost = False
        self.waiting = b""
        self.taken = b""
        self.stream: Stream | None = None

    def write(self, data: Any) -> None:
        waited = bool(self.waiting)
        self.waiting += data
        self.take()
        if self.waiting and not waited and self.stream is not None:
            self.stream.pause_writing()

    def take(self) -> None:
        if self.full or not self.waiting:
            return
        self.taken, self.waiting = self.taken + self.waiting, b""
        if self.stream is not None:
            self.stream.resume_writing()

    def lose(self) -> None:
        self.lost = True
        if self.stream is not None:
            self.stream.connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.lost

    def is_reading(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Client:
    """One user's client over all its connections, to whatever node.

    Attributes:
        seen: the numbers of the events that it got, in order.
        recalled: the number of each event that it was told is recalled, and how many it had seen.
        gaps: the reasons of those that it was told.
        told: how many events there were when it was told the last one.
        excused: events that were lost when nothing that it had showed that there were any, nor
            anything that its node had.
        due: of these, those that its node knows of and has to tell.
        began: how many events there were when it was given its first cursor.
    """

    def __init__(self, user: str, nodes: list[Node]) -> None:
        self.user = user
        self.nodes = nodes
        self.seen: list[int] = []
        self.recalled: list[tuple[int, int]] = []
        self.gaps: list[str] = []
        self.told = 0
        self.excused: set[int] = set()
        self.due: set[int] = set()
        self.began: int | None = None
        self._opened = 0
        self.cursor: Cursor | None = None
        self.epoch: str | None = None
        self.socket = Socket()
        self.task: asyncio.Task[None] | None = None

    def connect(self, node: Node) -> None:
        self.task = asyncio.create_task(self._handle(node))

    async def _handle(self, node: Node) -> None:
        socket = self.socket = Socket()
        recipient = node.hub.enter(self.user)
        try:
            start, epoch = await self.start(node, recipient)
        except asyncio.CancelledError:
            self.leave(node, recipient)
            raise
        self._opened = len(node.redis.published)
        settings = StreamSettings(buffer=300)  # two events or so
        stream = self.stream(node, recipient, settings, start, epoch)
        socket.write(chunk(stream.opening()))
        socket.stream = stream
        ended = asyncio.Event()

        def on_end(stream: Stream) -> None:
            self.leave(node, recipient)
            ended.set()

        stream.begin(socket, on_end)
        try:
            await ended.wait()
        finally:
            socket.lose()
            await ended.wait()

    async def start(self, node: Node, recipient: Recipient) -> tuple[Cursor, str | None]:
        if self.cursor is not None:
            return self.cursor, self.epoch
        start = await node.start_positions.find((node.hub.everyone, recipient))
        return start, node.hub.epoch

    def stream(
        self,
        node: Node,
        recipient: Recipient,
        settings: StreamSettings,
        start: Cursor,
        epoch: str | None,
    ) -> Stream:
        return Stream(settings, node.hub, recipient, node, node.heartbeat, start=start, epoch=epoch)

    def leave(self, node: Node, recipient: Recipient) -> None:
        node.hub.leave(recipient)

    async def disconnect(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        self.task = None
        self.read()
        self.excused |= self.due  # the next node does not know
        self.due.clear()

    def read(self) -> None:
        """Take in what has come through the socket."""
        redis = self.nodes[0].redis
        parser = EventParser()
        content, rest = unchunked(self.socket.taken)
        for event in parser.feed(content):
            if event.event == "aionotify.recalled":
                self.recalled.append((json.loads(event.data)["n"], len(self.seen)))
                continue
            self.cursor = cursor.parse(event.id, self.user)
            self.epoch = cursor.epoch_of(event.id)
            self.began = self._opened if self.began is None else self.began
            if event.event == "message":
                self.seen.append(json.loads(event.data)["n"])
            elif event.event == "aionotify.gap":
                self.gaps.append(json.loads(event.data)["reason"])
                self.told = len(redis.published)
        self.socket.taken = rest

    def known_to_node(self) -> set[int]:
        """The numbers of all that was published for it of which its node knows."""
        stream = self.socket.stream
        if stream is None or stream not in stream.recipient.streams or stream.epoch is None:
            return set()
        newest = {each.of: max((each.newest or 0, *each.stored())) for each in stream.inboxes}
        return {
            number
            for number, copies in enumerate(self.nodes[0].redis.published)
            for of, position in copies.values()
            if position <= newest.get(of, 0)
        }

    def receiver(self, number: int) -> Receiver | None:
        """As which of the receivers of an event it gets that: the first that it is."""
        return next(
            (each for each in self.nodes[0].redis.published[number] if self.is_(each)), None
        )

    def is_(self, receiver: Receiver) -> bool:
        return receiver in (EVERYONE, self.user)

    def order(self, number: int) -> Ordered | None:
        """Where that is in one order with others."""
        receiver = self.receiver(number)
        return None if receiver is None else self.nodes[0].redis.published[number][receiver][0]

    def stored(self, there: set[tuple[Receiver | Ordered, int]]) -> set[int]:
        """The numbers of the events whose copies for it are there."""
        published = self.nodes[0].redis.published
        mine = ((number, self.receiver(number)) for number in range(len(published)))
        return {
            number
            for number, receiver in mine
            if receiver is not None and (receiver, published[number][receiver][1]) in there
        }

    def expected(self, redis: Redis) -> list[int]:
        """The numbers of all that was published for it since it began."""
        return [
            number
            for number in range(len(redis.published))
            if self.receiver(number) is not None and self.began is not None and number >= self.began
        ]


def unchunked(data: bytes) -> tuple[bytes, bytes]:
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length + 2:
            break
        content, data = content + rest[:length], rest[length + 2 :]
    return content, data


class World:
    """Two nodes, four clients; `step` does one of the things that can happen just now.

    Args:
        trouble: what else can happen.
    """

    def __init__(self, trouble: Callable[["World"], list[Step]] = lambda world: []) -> None:
        self.trouble = trouble
        self.redis = Redis()
        self.nodes = [Node(self.redis), Node(self.redis)]
        self.clients = [Client(user, self.nodes) for user in USERS * 2]

    def publish_to_all(self) -> None:
        """Publish to everybody whatever they are in."""
        for id in (EVERYONE, *USERS):
            self.redis.publish(id)

    async def step(self, choice: int) -> None:
        possible, trouble = self.possible(), self.trouble(self)
        other, which = divmod(choice, len(possible) + bool(trouble))
        chosen = possible[which] if which < len(possible) else trouble[other % len(trouble)]
        done = chosen()
        if done is not None:
            await done
        await settle()
        for client in self.clients:
            client.read()

    def possible(self) -> list[Step]:
        steps: list[Step] = [partial(self.redis.publish, id) for id in (EVERYONE, *USERS)]
        steps += [partial(self.redis.publish, id, late=40) for id in USERS]
        for node in self.nodes:
            steps += self.progress(node) * 8
            steps += [node.probe] * (node.wire is not None)
            steps += [partial(node.publish, id) for id in (EVERYONE, "alice")]
            steps.append(node.connect if node.wire is None else node.lose)
        for client in self.clients:
            if client.task is None:
                steps += [partial(client.connect, node) for node in self.nodes]
            else:
                steps += [client.disconnect, partial(toggle, client.socket)]
        return steps

    def progress(self, node: Node) -> list[Step]:
        """What happens by itself, sooner or later."""
        steps: list[Step] = []
        if node.wire is not None:
            steps += [node.wire.carry_out] * bool(node.wire.commands)
            steps += [node.hear] * bool(node.wire.messages)
        steps += [node.answer] * bool(node.asked)
        steps += [node.hear_answer] * bool(node.answers)
        return steps

    async def subscribe(self, node: Node) -> None:
        """Let a node hear all that it wants to."""
        await settle()
        assert node.wire is not None
        while node.wire.commands:
            node.wire.carry_out()
        while node.wire.messages:
            node.hear()
        await settle()

    def restart(self, change: Step) -> None:
        """Have Redis end, and be another one when it is back."""
        for node in self.nodes:
            node.lose()
        change()

    def fall_back(self) -> None:
        """Have Redis end, and go on with what was on disk.

        That is another server, and seconds later by its positions: by seconds a node keeps apart
        what it publishes while it hears nothing, see `position.doubt`.
        """
        before = self.redis.stored()
        known = {client: client.known_to_node() for client in self.clients}
        self.restart(self.redis.fall_back)
        self.leap()
        there = self.redis.stored()
        for client in self.clients:
            lost = client.stored(before) - client.stored(there)
            for id in set(map(client.order, lost)):
                mine = {number for number in lost if client.order(number) == id}
                if mine.isdisjoint(client.seen):
                    client.due |= mine & known[client]
                    client.excused |= mine - known[client]

    def can_fall_back(self) -> bool:
        """Whether whoever has something of the data set that is on disk knows it by its name."""
        redis = self.redis
        names = {node.epoch for node in self.nodes}
        for client in self.clients:
            names.add(client.epoch)
            if client.socket.stream is not None:
                names.add(client.socket.stream.epoch)
        return redis.kept.epoch is None or names <= {None, redis.data.epoch}

    def fail_over(self, seconds: float) -> None:
        """Have another server take over, whose clock is something else; see `Node.connect`."""
        for node in self.nodes:
            node.lose()
        self.leap()
        self.redis.step(seconds)

    def leap(self) -> None:
        """Have all who publish know a later clock, as after they have seen another server."""
        for node in self.nodes:
            node.floor += 2 * SECOND
        self.redis.known[-1] += 2 * SECOND

    def fail_over_without_tail(self, seconds: float) -> None:
        """Have another server take over that does not have what was stored last."""
        self.fall_back()
        self.fail_over(seconds)

    async def come_to_rest(self, *, flowing: bool = True) -> None:
        """Let all that is under way arrive; nothing else happens any more, but for probes.

        Where it is not `flowing`, clients that take nothing go on doing so.
        """
        for node in self.nodes:
            if node.wire is None:
                node.connect()
        for index, client in enumerate(self.clients):
            if flowing:
                client.socket.full = False
                client.socket.take()
            if client.task is None:
                client.connect(self.nodes[index % 2])
        probes = [node.probe for node in self.nodes]
        for _ in range(2000):
            await settle()
            steps = [step for node in self.nodes for step in self.progress(node)]
            if not steps and not probes:
                return
            (steps or [probes.pop()])[0]()
        raise AssertionError("it never comes to rest")


def toggle(socket: Socket) -> None:
    socket.full = not socket.full
    socket.take()


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


def check(world: World) -> None:
    """Each client got all that was published since it began."""
    for client in world.clients:
        check_order(world, client)
        assert set(client.expected(world.redis)) <= set(client.seen), "lost"
        assert client.gaps == []


def check_order(world: World, client: Client) -> None:
    client.read()
    assert len(set(client.seen)) == len(client.seen), "repeated"
    for id in set(map(client.order, client.seen)):
        seen = [number for number in client.seen if client.order(number) == id]
        assert seen == sorted(seen), "out of order"
    assert client.socket.stream is not None
    assert client.socket.stream.live


def check_shown(world: World) -> None:
    """Each client got all that is in the inboxes since it began; and nothing after it was told that
    it is recalled.
    """
    for client in world.clients:
        check_order(world, client)
        missing = set(client.expected(world.redis)) - set(client.seen)
        assert missing <= world.redis.optional, "lost"
        assert client.gaps == []
        for number, seen in client.recalled:
            assert number not in client.seen[seen:], "recalled before it is seen"


def check_told(world: World) -> None:
    """Each client got all that was published since it began, or was told that it has not."""
    for client in world.clients:
        check_order(world, client)
        missing = set(client.expected(world.redis)) - set(client.seen) - client.excused
        assert not {number for number in missing if number >= client.told}, "lost in silence"
        assert "unknown" not in client.gaps, "it was given all that it has come with"


@contextlib.asynccontextmanager
async def brought_to_rest(
    trouble: Callable[[World], list[Step]] = lambda world: [],
    judge: Callable[[World], None] = check,
    made: Callable[[Callable[[World], list[Step]]], World] = World,
) -> AsyncIterator[World]:
    """A world that is looked at when all has arrived."""
    world = made(trouble)
    try:
        yield world
        await world.come_to_rest()
        judge(world)
        before = len(world.redis.published)
        world.publish_to_all()
        await world.come_to_rest()
        for client in world.clients:
            client.read()
            assert client.began is not None
            new = {number for number in client.expected(world.redis) if number >= before}
            new -= set(client.seen)
            assert not {number for number in new if number >= client.told}, "does not get on"
        judge(world)
    finally:
        for client in world.clients:
            await client.disconnect()
    for node in world.nodes:
        assert len(node.hub) == 0


async def play(
    choices: list[int],
    trouble: Callable[[World], list[Step]] = lambda world: [],
    judge: Callable[[World], None] = check,
    made: Callable[[Callable[[World], list[Step]]], World] = World,
) -> None:
    async with brought_to_rest(trouble, judge, made) as world:
        for choice in choices:
            await world.step(choice)


def clocks(world: World) -> list[Step]:
    """Redis' clock is set, for seconds or hours, or is that of another server."""
    steps: list[Step] = [partial(world.redis.step, by) for by in (-3600, -5, -0.3, 0.3, 5)]
    return [*steps, partial(world.fail_over, -300), partial(world.fail_over, 3)]


def losses(world: World) -> list[Step]:
    """Redis loses all, with its connections or without, or falls back, or does not answer; or
    everything expires.
    """
    redis = world.redis
    unanswered = [node.fail for node in world.nodes if node.asked and node.asked[0][1]]
    # Not what was wiped, while a node, or a client by its cursor, takes it for what was there
    # before: that repeats events, see docs/durability.rst.
    falls: list[Step] = [
        world.fall_back,
        partial(world.fail_over_without_tail, -300),
        partial(world.fail_over_without_tail, 3),
    ]
    return [
        *unanswered,
        redis.keep,
        redis.wipe,
        partial(world.restart, redis.wipe),
        *(falls if world.can_fall_back() else []),
        partial(redis.step, 2 * RETENTION),
        *clocks(world),
    ]


def options(world: World) -> list[Step]:
    """Events expire, take the place of older ones, or are recalled."""
    redis, ids = world.redis, (EVERYONE, *USERS)
    steps: list[Step] = [partial(redis.publish_expiring, id) for id in ids]
    steps += [
        partial(do, id, at)
        for do in (redis.replace, redis.recall)
        for id in ids
        for at in (-1, -2, 0)
    ]
    return [*steps, *(steps[3:] * 2), *clocks(world)]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream whose question failed asks again in the next step of the loop."""
    monkeypatch.setattr("aionotify.streams.catch_up._RETRY_INTERVAL", (0.0, 0.0))


# Without shrinking, which would take minutes: what it finds is a list of steps to be replayed.
@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_no_event_is_lost_repeated_or_out_of_order(choices: list[int]) -> None:
    asyncio.run(play(choices))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_clocks_that_are_set_cost_nobody_anything(choices: list[int]) -> None:
    asyncio.run(play(choices, clocks))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_redis_loses_is_told(choices: list[int]) -> None:
    asyncio.run(play(choices, losses, check_told))


@given(st.lists(st.integers(0, 9999), min_size=60, max_size=300))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_expires_or_is_taken_out_costs_nobody_anything_else(choices: list[int]) -> None:
    asyncio.run(play(choices, options, check_shown))


async def test_an_answer_from_before_a_resubscription_does_not_say_where_now_is() -> None:
    async with brought_to_rest() as world:
        node, client = world.nodes[0], world.clients[0]
        world.redis.publish(EVERYONE)
        client.connect(node)
        await world.subscribe(node)
        while node.asked:
            node.answer()  # from now on these answers are on their way
        node.lose()
        world.redis.publish(EVERYONE)
        node.connect()
        await world.subscribe(node)


async def test_two_who_come_at_once_do_not_hide_an_event_from_each_other() -> None:
    async with brought_to_rest() as world:
        node, redis = world.nodes[0], world.redis
        for id in (EVERYONE, "alice"):
            redis.publish(id)
        world.clients[0].connect(node)
        await world.subscribe(node)
        node.answer()
        node.hear_answer()
        await settle()
        node.answer()  # to the first, on its way from now on
        redis.publish("alice")
        world.clients[2].connect(node)
        await settle()
        while node.answers:
            node.hear_answer()
            await settle()


@pytest.mark.parametrize("where", ["on its way", "in a socket that is full"])
async def test_a_recall_is_told_after_the_event_whatever_that_waits_for(where: str) -> None:
    async with brought_to_rest(judge=check_shown) as world:
        client, node, redis = world.clients[0], world.nodes[0], world.redis
        await world.come_to_rest()
        if where == "on its way":
            await client.disconnect()
            redis.publish("alice")
            await world.subscribe(node)
            client.connect(node)
            await settle()
            while node.asked:
                node.answer()
        else:
            client.socket.full = True
            redis.publish("alice")
            await world.subscribe(node)
        redis.recall("alice", -1)
        await world.subscribe(node)
        if where == "on its way":
            client.read()
            assert (client.seen, client.recalled) == ([], [])
        await world.come_to_rest()
        client.read()
        assert (client.seen, client.recalled) == ([0], [(0, 1)])
        redis.optional.clear()  # nobody has to do without it


@pytest.mark.parametrize("then", ["nothing", "published", "heard and lost again"])
async def test_what_a_node_has_heard_and_is_gone_is_told_to_who_has_not_come_to_it(
    then: str,
) -> None:
    """A client takes nothing for a while, and Redis falls back to something in between, whatever
    else is heard before the client reads.
    """
    async with brought_to_rest(judge=check_told) as world:
        client = world.clients[0]
        await world.come_to_rest()
        client.socket.full = True
        for _ in range(6):
            world.redis.publish("alice")
        await world.come_to_rest(flowing=False)
        world.redis.keep()
        world.redis.publish("alice")
        await world.come_to_rest(flowing=False)
        assert client.socket.stream is not None
        assert not client.socket.stream.live
        world.fall_back()
        if then == "heard and lost again":
            world.nodes[0].connect()
            await world.subscribe(world.nodes[0])
        if then != "nothing":
            world.redis.publish("alice")
        if then == "heard and lost again":
            await world.subscribe(world.nodes[0])
            world.nodes[0].lose()
        await world.come_to_rest()
        client.read()
        assert client.gaps == ["lost"]


async def test_what_falls_back_before_a_node_knows_that_it_was_wiped_is_told_and_comes_again() -> (
    None
):
    """The last that a client has is gone, and its cursor names another data set: it may as well be
    from there. So the client begins at what is left.
    """
    async with brought_to_rest(judge=lambda world: None) as world:
        client, node, redis = world.clients[0], world.nodes[0], world.redis
        await world.come_to_rest()
        redis.wipe()
        redis.publish("alice")
        redis.keep()
        redis.publish("alice")
        await world.subscribe(node)
        client.read()
        assert (client.seen, client.gaps) == ([0, 1], [])
        assert not world.can_fall_back()
        world.fall_back()
        await world.come_to_rest()
        client.read()
        assert (client.seen, client.gaps) == ([0, 1, 0], ["lost"])
        assert world.can_fall_back()
