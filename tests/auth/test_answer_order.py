"""No answer lets a token in that was asked for before it was revoked or refused."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from aionotify.auth.answer import Key
from aionotify.auth.answers import Answers, Moment
from aionotify.auth.revocations import Revocations
from aionotify.broker.answer_store import RedisAnswerStore
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.control import ControlChannel, decode_control
from aionotify.broker.keys import Keys
from aionotify.broker_events import BrokerEvents
from aionotify.events.event import EVERYONE
from aionotify.streams.hub import Hub
from tests.harness import RedisServer
from tests.streams.test_hub import Wanted

KEYS = Keys("p", "")
USERS = ("a", "b")
HOST = "http://main.example/"
STEP = 1e6  # seconds: an answer's lifetime says in which step it was asked for


class StepByStep(Answers):
    """Sends when it is told to."""

    def _soon(self, seconds: float) -> None: ...

    async def flush(self) -> None:
        self._send()
        while self._tasks:
            await asyncio.gather(*self._tasks)


@dataclass
class World:
    """What has happened, by the number of the step.

    Attributes:
        revoked: when each user was revoked last, and DELETE /streams has answered.
        refused: when the refusal of each token was last written.
    """

    client: Redis
    step: int = 0
    revoked: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    found: int = 0


class Node:
    """All real, but for the hub's streams: it hears one message when it is told to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.pubsub: PubSub | None = None
        self.control = ControlChannel(by_client(lambda: world.client), KEYS, 60)
        self.start()

    def start(self) -> None:
        """Know nothing."""
        self.asked: dict[str, tuple[int, Moment | None]] = {}
        self.owed: set[str] = set()
        self.revocations = Revocations(3)
        self.events = BrokerEvents(Hub(Wanted()), self.revocations, self.control)
        store = RedisAnswerStore(by_client(lambda: self.world.client), KEYS)
        self.answers = StepByStep(store, self.revocations, longest=math.inf, keep=60)

    async def restart(self, user: str) -> None:
        await self.lose(user)
        self.start()
        await self.connect(user)

    async def connect(self, user: str) -> None:
        if self.pubsub is None:
            self.pubsub = self.world.client.pubsub()
            await self.pubsub.subscribe(KEYS.control)
            assert await self.pubsub.get_message(timeout=5)
            self.events.confirmed(EVERYONE)

    async def lose(self, user: str) -> None:
        if self.pubsub is not None:
            await self.pubsub.aclose()  # type: ignore[no-untyped-call]
            self.pubsub = None
            self.events.lost()
            await self.events.close()

    async def catch_up(self, user: str) -> None:
        await self.events.caught_up(5)

    async def hear(self, user: str) -> None:
        if self.pubsub is not None and (message := await self.pubsub.get_message(timeout=0.001)):
            self.events.revoked(decode_control(message["data"]))

    async def hear_all(self, user: str) -> None:
        while self.pubsub is not None and (message := await self.pubsub.get_message(timeout=0.001)):
            self.events.revoked(decode_control(message["data"]))

    async def revoke(self, user: str) -> None:
        await self.control.revoke(user)
        self.world.revoked[user] = self.world.step

    async def look_up(self, user: str) -> None:
        """Nobody may be let in by an answer from before a revocation, or a refusal."""
        finding = asyncio.create_task(self.answers.find(Key(HOST, user), math.inf))
        await asyncio.sleep(0)
        await self.flush(user)
        found = await finding
        if found is not None:
            asked = round(found.lifetime / STEP)
            assert asked > self.world.revoked.get(user, -1), "revoked"
            assert asked > self.world.refused.get(user, -1), "refused"
            assert found.user_id == user
            self.world.found += 1

    async def ask(self, user: str) -> None:
        """Put a question to the main host."""
        self.asked.setdefault(user, (self.world.step, self.answers.moment()))

    async def accepted(self, user: str) -> None:
        """It was accepted; that is to be written."""
        if user in self.asked:
            step, moment = self.asked.pop(user)
            self.answers.accepted(Key(HOST, user), user, step * STEP, moment)

    async def refuse(self, user: str) -> None:
        """It was refused; that is to be written."""
        self.asked.pop(user, None)
        self.answers.refused(Key(HOST, user))
        self.owed.add(user)

    async def flush(self, user: str) -> None:
        await self.answers.flush()
        assert not self.answers._owed
        for refused in self.owed:
            self.world.refused[refused] = self.world.step
        self.owed.clear()

    async def open(self, user: str) -> None:
        self.answers.opened(Key(HOST, user))

    async def lose_all(self, user: str) -> None:
        await self.world.client.flushall()

    async def evict_numbers(self, user: str) -> None:
        await self.world.client.delete(KEYS.numbers)

    async def evict_revoked(self, user: str) -> None:
        await self.world.client.delete(KEYS.revoked)

    async def close(self) -> None:
        await self.lose("")
        await self.answers.flush()
        await self.control.close()


STEPS: dict[str, Callable[[Node, str], Coroutine[Any, Any, None]]] = {
    name: getattr(Node, name.replace(" ", "_"))
    for name in (
        *("ask", "accepted", "refuse", "flush", "look up", "open", "revoke", "hear", "hear all"),
        *("lose", "connect", "catch up", "restart", "lose all", "evict numbers", "evict revoked"),
    )
}
OFTEN = [
    *STEPS,
    *("ask", "accepted", "flush", "look up", "ask", "accepted", "flush", "look up", "connect"),
    *("hear all", "catch up", "revoke", "refuse"),
]


async def play(server: RedisServer, steps: list[tuple[int, str, str]]) -> int:
    """Play a story; returns how often something was found."""
    async with Redis(port=server.port, protocol=2) as client:
        await client.flushall()
        world = World(client)
        nodes = [Node(world) for _ in range(3)]
        for node in nodes:
            await node.connect("")
            await node.catch_up("")
            await node.look_up("a")
        for index, step, user in steps:
            world.step += 1
            await STEPS[step](nodes[index], user)
        for node in nodes:
            for user in USERS:
                world.step += 1
                await node.look_up(user)
            await node.close()
        await client.flushall()
        return world.found


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(OFTEN), st.sampled_from(USERS)), max_size=60
    )
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nobody_is_let_in_who_was_revoked_or_refused_since(
    redis_server: RedisServer, steps: list[tuple[int, str, str]]
) -> None:
    """Whatever is heard, missed, written late, lost or thrown away, and wherever one looks."""
    asyncio.run(play(redis_server, steps))


# Some of these stories, told one by one: "0 ask" is what node 0 does, about user "a".

ANSWERED = "0 look up, 0 ask, 0 accepted, 0 flush"


def found(server: RedisServer, text: str) -> int:
    """How many of three nodes find an answer in the end."""
    steps = [step.split(maxsplit=1) for step in text.split(", ")]
    return asyncio.run(play(server, [(int(node), step, "a") for node, step in steps]))


@pytest.mark.parametrize(
    "story",
    [
        ANSWERED,
        f"1 revoke, 0 hear, 1 hear, 2 hear, {ANSWERED}",
        f"1 refuse, 1 flush, {ANSWERED}",
        f"1 lose, 0 revoke, 0 hear, 2 hear, {ANSWERED}, 1 connect, 1 catch up",
        f"{ANSWERED}, 1 restart, 1 catch up, 2 restart, 2 catch up, 0 restart, 0 catch up",
        f"1 lose all, {ANSWERED}",
    ],
)
def test_what_is_known_is_found_by_all_nodes(redis_server: RedisServer, story: str) -> None:
    assert found(redis_server, story) == 3


@pytest.mark.parametrize(
    "story",
    [
        f"{ANSWERED}, 1 revoke",
        f"{ANSWERED}, 1 revoke, 0 hear, 1 hear, 2 hear",
        "0 look up, 0 ask, 1 revoke, 0 hear, 1 hear, 2 hear, 0 accepted, 0 flush",
        "0 look up, 0 ask, 0 accepted, 1 revoke, 0 hear, 1 hear, 2 hear, 0 flush",
        f"{ANSWERED}, 0 lose, 1 revoke, 1 hear, 2 hear, 0 connect, 0 catch up",
        f"{ANSWERED}, 1 revoke, 0 restart, 0 catch up, 1 restart, 1 catch up, 2 restart",
        f"{ANSWERED}, 1 refuse, 1 flush",
        "0 look up, 0 ask, 1 refuse, 1 flush, 0 accepted, 0 flush",
        "0 look up, 0 ask, 0 accepted, 1 refuse, 1 flush, 0 flush",
        f"{ANSWERED}, 1 revoke, 1 evict revoked, 2 restart, 2 catch up",
        f"{ANSWERED}, 1 evict numbers",
        "0 look up, 0 ask, 1 lose all, 0 accepted, 0 flush",
        "0 ask, 1 revoke, 1 lose all, 0 look up, 0 accepted, 0 flush, 2 restart, 2 catch up",
        "0 look up, 0 ask, 1 evict numbers, 1 refuse, 1 flush, 0 accepted, 0 flush",
    ],
)
def test_what_is_outdated_is_found_by_none(redis_server: RedisServer, story: str) -> None:
    assert found(redis_server, story) == 0
