"""Catch-up and live, joined: whatever happens in whatever order, nothing is lost or repeated.

Real hubs and streams, over a Redis, a network and clients that are a few lists here, so that each
step (a command reaches Redis, a message reaches a node, a connection breaks, a client stops
reading, moves to another node) can be put before or after each other.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from unittest import mock

from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.event import EVERYONE, decode
from aionotify.events.frame import chunk
from aionotify.events.page import Entry, GapReason, Page
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.start_position import StartPositions
from aionotify.streams.stream import NotificationStream, StreamSettings
from tests.harness import EventParser

Step = Callable[[], Coroutine[Any, Any, None] | None]

USERS = ("alice", "bob")
DEADLINES = Deadlines(60)
PAGE = 2  # events at a time, so that most catch-ups take several pages


class Redis:
    """Inboxes, subscriptions, and a clock on which no two things happen at once."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.inboxes: dict[str, list[Entry]] = {id: [] for id in (EVERYONE, *USERS)}
        self.subscribers: list[Wire] = []

    def tick(self) -> int:
        self.now += 10
        return self.now

    def publish(self, id: str) -> None:
        inbox, position = self.inboxes[id], self.tick()
        previous = inbox[-1].position if inbox else 0
        event = decode(b'{"recipient_id": "%b", "n": %d}' % (id.encode(), position))
        inbox.append(Entry(position, previous, event))
        for wire in self.subscribers:
            if id in wire.channels:
                wire.messages.append((id, inbox[-1]))

    def page(self, id: str, after: int | None) -> Page:
        inbox = self.inboxes[id]
        if not inbox:
            nothing_yet = self.tick() + 1
            return Page([], nothing_yet, nothing_yet, None)
        newest = inbox[-1].position
        if after is None:
            return Page([], newest, newest, None)
        known = after & 1 or any(entry.position == after for entry in inbox)
        entries = [entry for entry in inbox if entry.position > after]
        upto = entries[PAGE - 1].position if len(entries) > PAGE else newest
        return Page(entries[:PAGE], upto, newest, None if known else GapReason.LOST)


class Wire:
    """The subscribing connection of a node: commands one way, messages and answers the other."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.commands: deque[tuple[bool, str]] = deque()
        self.channels: set[str] = set()
        self.messages: deque[tuple[str, Entry | None]] = deque()

    def carry_out(self) -> None:
        join, id = self.commands.popleft()
        if join:
            self.channels.add(id)
            self.messages.append((id, None))
        else:
            self.channels.discard(id)


class Node:
    """A hub, with what a subscriber does for it and how an inbox answers it."""

    fresh = 1.0

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.hub = Hub(self)
        self.start_positions = StartPositions(self.hub, self, DEADLINES, together=0)
        self.heartbeat = Heartbeat(60)
        self.wanted = {EVERYONE}
        self.wire: Wire | None = None
        self.asked: deque[tuple[str, int | None, asyncio.Future[Page]]] = deque()
        self.answers: deque[tuple[asyncio.Future[Page], Page]] = deque()
        self.connect()

    def want(self, recipient_id: str) -> None:
        self.wanted.add(recipient_id)
        if self.wire is not None:
            self.wire.commands.append((True, recipient_id))

    def drop(self, recipient_id: str) -> None:
        self.wanted.remove(recipient_id)
        if self.wire is not None:
            self.wire.commands.append((False, recipient_id))

    def connect(self) -> None:
        self.wire = Wire(self.redis)
        self.redis.subscribers.append(self.wire)
        self.wire.commands.extend((True, id) for id in sorted(self.wanted))

    def lose(self) -> None:
        """Lose the connection, with all that is on its way."""
        if self.wire is not None:
            self.redis.subscribers.remove(self.wire)
            self.wire = None
            self.hub.lost()

    def hear(self) -> None:
        assert self.wire is not None
        id, entry = self.wire.messages.popleft()
        if entry is not None:
            if id in self.wanted:
                self.hub.durable(id, entry)
        elif id in self.wanted:
            self.hub.confirmed(id)

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        return self._ask(recipient_id, after)

    def _ask(self, recipient_id: str, after: int | None) -> asyncio.Future[Page]:
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.asked.append((recipient_id, after, answer))
        return answer

    async def newest(self, recipient_ids: Sequence[str]) -> list[Page | Exception]:
        return [await answer for answer in [self._ask(id, None) for id in recipient_ids]]

    def answer(self) -> None:
        id, after, future = self.asked.popleft()
        self.answers.append((future, self.redis.page(id, after)))

    def hear_answer(self) -> None:
        future, page = self.answers.popleft()
        if not future.done():
            future.set_result(page)


class Socket(asyncio.Transport):
    """A client's end; `full` while it takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.waiting = b""
        self.taken = b""
        self.emptied: list[asyncio.Future[None]] = []

    def write(self, data: Any) -> None:
        self.waiting += data
        self.take()

    def take(self) -> None:
        if not self.full:
            self.taken, self.waiting = self.taken + self.waiting, b""
            for future in self.emptied:
                if not future.done():
                    future.set_result(None)
            self.emptied.clear()

    async def drain(self) -> None:
        if self.waiting:
            self.emptied.append(asyncio.get_running_loop().create_future())
            await self.emptied[-1]

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def abort(self) -> None: ...


class Client:
    """One user's client over all its connections, to whatever node."""

    def __init__(self, user: str, nodes: list[Node]) -> None:
        self.user = user
        self.nodes = nodes
        self.seen: list[int] = []
        self.gaps = 0
        self.start: Cursor | None = None  # the first one that it was given
        self.cursor: Cursor | None = None
        self.socket = Socket()
        self.stream: NotificationStream | None = None
        self.task: asyncio.Task[None] | None = None

    def connect(self, node: Node) -> None:
        self.task = asyncio.create_task(self._handle(node))

    async def _handle(self, node: Node) -> None:
        self.socket = Socket()
        recipient = node.hub.enter(self.user)
        try:
            start = self.cursor or await node.start_positions.find(recipient)
            if self.cursor is None:
                assert max(start) < node.redis.tick(), "what comes now would not be for it"
            writer = mock.Mock(spec=AbstractStreamWriter, drain=self.socket.drain)
            writer.write.side_effect = lambda data: self.socket.write(chunk(data))
            request = make_mocked_request("GET", "/", transport=self.socket, writer=writer)
            settings = StreamSettings(buffer=300)  # two events or so
            self.stream = NotificationStream(settings, node.hub, recipient)
            await self.stream.prepare(request)
            async with self.stream:
                await self.stream.run(node, node.heartbeat, start)
        finally:
            node.hub.leave(recipient)

    async def disconnect(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        self.task = self.stream = None
        self.read()

    def read(self) -> None:
        """Take in what has come through the socket, once it is over."""
        parser = EventParser()
        for event in parser.feed(unchunked(self.socket.taken)):
            self.cursor = cursor.parse(event.id, self.user)
            self.start = self.start or self.cursor
            if event.event == "message":
                self.seen.append(int(event.data.rpartition(" ")[2].rstrip("}")))
            elif event.event == "aionotify.gap":
                self.gaps += 1
        self.socket.taken = b""

    def expected(self, redis: Redis) -> list[int]:
        if self.start is None:
            return []
        return sorted(
            entry.position
            for id, start in zip((EVERYONE, self.user), self.start, strict=True)
            for entry in redis.inboxes[id]
            if entry.position > start
        )


def unchunked(data: bytes) -> bytes:
    content = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length + 2:
            break
        content, data = content + rest[:length], rest[length + 2 :]
    return content


class World:
    """Two nodes, four clients; `step` does one of the things that can happen just now."""

    def __init__(self) -> None:
        self.redis = Redis()
        self.nodes = [Node(self.redis), Node(self.redis)]
        self.clients = [Client(user, self.nodes) for user in USERS * 2]

    async def step(self, choice: int) -> None:
        possible = self.possible()
        done = possible[choice % len(possible)]()
        if done is not None:
            await done
        await settle()

    def possible(self) -> list[Step]:
        steps: list[Step] = [partial(self.redis.publish, id) for id in (EVERYONE, *USERS)]
        for node in self.nodes:
            steps += self.progress(node) * 4
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

    async def come_to_rest(self) -> None:
        """Let all that is under way arrive; nothing else happens any more."""
        for node in self.nodes:
            if node.wire is None:
                node.connect()
        for index, client in enumerate(self.clients):
            client.socket.full = False
            client.socket.take()
            if client.task is None:
                client.connect(self.nodes[index % 2])
        for _ in range(2000):
            await settle()
            steps = [step for node in self.nodes for step in self.progress(node)]
            if not steps:
                return
            steps[0]()
        raise AssertionError("it never comes to rest")


def toggle(socket: Socket) -> None:
    socket.full = not socket.full
    socket.take()


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


def check(world: World) -> None:
    """Each client got all that was published after the first cursor that it was given."""
    for client in world.clients:
        client.read()
        assert sorted(client.seen) == client.expected(world.redis), "lost, or repeated"
        for id in (EVERYONE, client.user):
            inbox = {entry.position for entry in world.redis.inboxes[id]}
            seen = [position for position in client.seen if position in inbox]
            assert seen == sorted(seen), "out of order"
        assert client.gaps == 0
        assert client.stream is not None
        assert client.stream.live


@contextlib.asynccontextmanager
async def brought_to_rest() -> AsyncIterator[World]:
    """A world that is looked at when all has arrived."""
    world = World()
    try:
        yield world
        await world.come_to_rest()
        check(world)
    finally:
        for client in world.clients:
            await client.disconnect()
    for node in world.nodes:
        assert len(node.hub) == 0


async def play(choices: list[int]) -> None:
    async with brought_to_rest() as world:
        for choice in choices:
            await world.step(choice)


# Without shrinking, which would take minutes: what it finds is a list of steps to be replayed.
@given(st.lists(st.integers(0, 255), min_size=60, max_size=240))
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_no_event_is_lost_repeated_or_out_of_order(choices: list[int]) -> None:
    asyncio.run(play(choices))


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
