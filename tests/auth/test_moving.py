"""What is known of tokens moves from node to node, and no revocation is overtaken by it."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionotify.auth import handing_over
from aionotify.auth.handing_over import Tell
from aionotify.auth.moving import Moving
from aionotify.auth.revocations import Revocations
from aionotify.auth.vouched import MAX_RECORDS, Vouched, decode
from aionotify.errors import InvalidEvent

USERS = "ab"
LONGEST = 1e9


@dataclass
class Redis:
    """What has been said to all nodes, in order, and what a node can still read of it.

    A message is bytes that a node has handed over, or the name of a user who was revoked.
    """

    said: list[bytes | str] = field(default_factory=list)
    log: list[bytes | str] = field(default_factory=list)
    longest_log: int = 100

    async def hand_over(self, message: bytes, hold: float) -> None:
        self.log.append(message)
        self.say(message)

    def revoke(self, user: str) -> None:
        if self.log:
            self.log.append(user)
        self.say(user)

    def say(self, message: bytes | str) -> None:
        del self.log[: -self.longest_log]
        self.said.append(message)


@dataclass(frozen=True)
class Learned:
    """That the main host knew a token: `heard` is how much its node had heard by then."""

    user: str
    heard: int


class Node:
    """Knows tokens, one for each user, and hears what is said when it comes to that.

    Each `Learned` has a number; it travels as the age of what is known.
    """

    def __init__(self, redis: Redis, learned: list[Learned]) -> None:
        self.redis = redis
        self.learned = learned
        self.position: int | None = len(redis.said)  # of what it hears next; None: it hears nothing
        self.forgotten = Revocations(100)
        self.moving = Moving(redis.hand_over, self.forgotten, LONGEST, lambda: 0.0)
        self.known: dict[str, tuple[int, int]] = {}  # number, and `Revocations.now` at that time
        self.read: tuple[int, list[bytes | str]] | None = None
        self.saying: list[asyncio.Task[int]] = []

    def ask(self, user: str) -> None:
        """Ask the main host, which knows everybody."""
        heard = len(self.redis.said) if self.position is None else self.position
        self.known[user] = len(self.learned), self.forgotten.now
        self.learned.append(Learned(user, heard))

    def hear(self, count: int = 1) -> None:
        for _ in range(count):
            if self.position is not None and self.position < len(self.redis.said):
                self.take(self.redis.said[self.position])
                self.position += 1

    def take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.moving.hear(message)
        else:
            self.forgotten.add(message)

    def leave(self) -> None:
        """Hand over what is known."""
        tokens = [f"{user}-token" for user in USERS]
        self.saying.append(asyncio.ensure_future(self.moving.say(tokens, self.vouch, 60.0)))

    def vouch(self, token: str) -> Vouched | None:
        user = token[0]
        number, now = self.known.get(user, (0, -1))
        if now < self.moving.unsure or self.forgotten.since(now, user):
            return None
        return Vouched(user, number, math.inf, math.inf)

    def come(self, user: str) -> None:
        """Take a stream over, if somebody has vouched for its token."""
        moved = self.moving.find(f"{user}-token")
        if moved is not None:
            number, _ = self.known.get(user, (-1, -1))
            if number < -moved.answered:
                self.known[user] = int(-moved.answered), moved.learned

    def begin_to_read(self) -> None:
        self.read = self.moving.now, list(self.redis.log)

    def end_to_read(self) -> None:
        now, messages = self.read or (0, [])
        self.read = None
        for message in messages:
            if isinstance(message, bytes):
                self.moving.read(message, 0.0, now)
            else:
                self.take(message)

    def lose(self) -> None:
        self.position = None
        self.moving.unheard()

    def find_again(self) -> None:
        if self.position is None:
            self.position = len(self.redis.said)
            self.moving.heard()

    def check(self) -> None:
        """Nobody is vouched for who was revoked since the main host was asked about them."""
        for user in USERS:
            moved = self.moving.find(f"{user}-token")
            if moved is not None:
                learned = self.learned[int(-moved.answered)]
                assert learned.user == moved.user_id == user
                assert user not in self.redis.said[learned.heard :]


STEPS: dict[str, Callable[[Node, str], None]] = {
    "ask": Node.ask,
    "come": Node.come,
    "revoke": lambda node, user: node.redis.revoke(user),
    "hear": lambda node, user: node.hear(),
    "hear more": lambda node, user: node.hear(3),
    "leave": lambda node, user: node.leave(),
    "lose": lambda node, user: node.lose(),
    "find again": lambda node, user: node.find_again(),
    "begin to read": lambda node, user: node.begin_to_read(),
    "end to read": lambda node, user: node.end_to_read(),
    "expire": lambda node, user: node.redis.log.clear(),
    "restart": lambda node, user: Node.__init__(node, node.redis, node.learned),
}


async def play(steps: list[tuple[int, str, str]], longest_log: int) -> int:
    """Play a story; returns how many tokens could be taken over in the end."""
    redis = Redis(longest_log=longest_log)
    learned: list[Learned] = []
    nodes = [Node(redis, learned) for _ in range(3)]
    tasks = []
    for index, step, user in steps:
        STEPS[step](nodes[index], user)
        tasks += nodes[index].saying
        nodes[index].saying = []
        for _ in range(3):
            await asyncio.sleep(0)
    for node in nodes:
        node.find_again()
    while any((node.position or 0) < len(redis.said) for node in nodes):
        for node in nodes:
            node.hear()
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()  # of a node that has started anew, or has not heard itself
    await asyncio.gather(*tasks, return_exceptions=True)
    for node in nodes:
        node.check()
    return sum(node.moving.find(f"{user}-token") is not None for node in nodes for user in USERS)


OFTEN = [*STEPS, "ask", "hear", "hear", "hear more", "hear more", "leave", "leave", "revoke"]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(OFTEN), st.sampled_from(USERS)),
        max_size=60,
    ),
    st.sampled_from([1, 3, 100]),
)
@settings(max_examples=400, deadline=None)
def test_nobody_is_vouched_for_who_was_revoked_meanwhile(
    steps: list[tuple[int, str, str]], longest_log: int
) -> None:
    """Whatever is heard when, missed, read late, expired or cut off, and wherever it moves to."""
    asyncio.run(play(steps, longest_log))


# Some of these stories, told one by one: "0 ask" is what node 0 does, about user "a".

LEAVES = "0 ask, 0 leave, 0 hear"
ALL_HEAR = "0 hear, 1 hear, 2 hear, 0 hear, 1 hear, 2 hear, 0 hear, 1 hear, 2 hear"


def found(text: str, longest_log: int = 100) -> int:
    """How many nodes know of the token in the end."""
    steps = [step.split(maxsplit=1) for step in text.split(", ")]
    return asyncio.run(play([(int(node), step, "a") for node, step in steps], longest_log))


def test_what_is_known_moves_to_all_other_nodes() -> None:
    assert found(LEAVES) == 2


def test_it_moves_on() -> None:
    """Node 1 takes the stream and leaves, too; by then node 2 has started anew."""
    assert found(f"{LEAVES}, {ALL_HEAR}, 1 come, 2 restart, 0 restart, 1 leave, 1 hear") == 3


def test_it_moves_to_a_node_that_starts_later() -> None:
    assert found(f"{LEAVES}, 0 restart, 0 begin to read, 0 end to read") == 3


@pytest.mark.parametrize(
    "revoked",
    [
        "0 ask, 1 revoke, 0 leave, 0 hear",  # and only then heard of
        "0 ask, 0 leave, 0 hear, 1 revoke",
        "0 ask, 0 leave, 1 revoke, 0 hear",
        "0 ask, 0 leave, 0 hear, 1 hear, 1 revoke, 1 hear, 1 hear, 0 leave, 0 hear, 0 hear",
        "0 ask, 0 lose, 1 revoke, 0 find again, 0 leave, 0 hear",  # never heard of
        "0 ask, 0 leave, 1 revoke, 0 hear, 0 leave",
        f"{LEAVES}, {ALL_HEAR}, 2 restart, 1 lose, 2 revoke, 1 find again",
        f"{LEAVES}, 0 restart, 1 lose, 1 begin to read, 1 end to read, 2 revoke, 1 find again",
        "0 ask, 0 leave, 0 hear, 0 hear, 1 revoke, 0 leave, 1 restart, 2 restart",
    ],
)
def test_a_revocation_is_not_overtaken(revoked: str) -> None:
    assert found(revoked) == 0


@pytest.mark.parametrize(
    "start",
    [
        "1 revoke, 0 restart, 0 begin to read, 0 end to read",
        "0 restart, 0 begin to read, 1 revoke, 0 hear, 0 end to read",
        "0 restart, 0 begin to read, 0 end to read, 1 revoke",
        "0 restart, 1 revoke, 0 hear, 0 begin to read, 0 end to read",
    ],
)
def test_a_revocation_is_not_overtaken_by_what_is_read_at_the_start(start: str) -> None:
    assert found(f"{LEAVES}, {start}") == 0


def test_who_was_asked_about_since_is_vouched_for() -> None:
    assert found("0 ask, 1 revoke, 0 hear, 0 ask, 0 leave, 0 hear") == 2


def test_what_the_log_has_lost_leaves_nothing_to_be_misunderstood() -> None:
    """Be it cut off or expired between two messages."""
    assert found(f"{LEAVES}, 1 revoke, 0 restart, 0 begin to read, 0 end to read", 1) == 0
    assert (
        found(
            "0 ask, 0 leave, 1 revoke, 0 expire, 0 hear, 1 restart, 1 begin to read, 1 end to read"
        )
        == 0
    )


# What goes wrong with others


def anybody(token: str) -> Vouched:
    """Vouch for all tokens."""
    return Vouched("alice", 0.0, 100.0, math.inf)


async def nobody(message: bytes, hold: float) -> None:
    """Take a message, and have nobody hear it."""


async def never(message: bytes, hold: float) -> None:
    """Take no message at all."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("tell", [nobody, never])
async def test_who_is_not_heard_gives_up_soon(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing_over, "PATIENCE", 0.01)
    with pytest.raises(TimeoutError):
        await Moving(tell, Revocations(1), LONGEST).say(["token"], anybody, 60.0)


async def test_who_has_nothing_to_say_says_nothing() -> None:
    moving = Moving(never, Revocations(1), LONGEST)
    assert await moving.say([], anybody, 60.0) == 0
    assert await moving.say(["token"], lambda token: None, 60.0) == 0


async def test_many_tokens_are_several_messages() -> None:
    sent: list[bytes] = []

    async def tell(message: bytes, hold: float) -> None:
        sent.append(message)
        moving.hear(message)

    moving = Moving(tell, Revocations(1), LONGEST)
    tokens = [f"token-{number}" for number in range(2 * MAX_RECORDS + 1)]
    assert await moving.say(tokens, anybody, 60.0) == len(tokens)
    assert [len(decode(each).records) for each in sent] == [0, MAX_RECORDS, MAX_RECORDS, 1]
    other = Moving(None, Revocations(1), LONGEST)
    for each in sent:
        other.hear(each)
    assert all(other.find(token) for token in tokens)
    assert moving.find("token-0") is None, "what one says oneself is no news"


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        Moving(None, Revocations(1), LONGEST).hear(b"nonsense")
