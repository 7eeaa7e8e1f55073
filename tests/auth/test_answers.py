"""What the main host answered at one node is good at all of them: how long, and for whom."""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from aionotify.auth import answers as module
from aionotify.auth.answer import Answer, Key
from aionotify.auth.answers import Answers
from aionotify.auth.revocations import Revocations
from aionotify.broker.answer_store import RedisAnswerStore
from aionotify.errors import BrokerRefused, BrokerUnavailable
from tests.auth.answer_nodes import HOST, KEEP, LONGEST, Node, cluster_of
from tests.harness import RedisServer, eventually

KEY = Key(HOST, "alice-token")


# For how long it counts


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Node]]:
    async with cluster_of(redis_server, "p", "p") as made:
        yield made


async def test_an_answer_opens_streams_at_all_nodes_while_it_is_young(nodes: list[Node]) -> None:
    one, other = nodes
    await one.answered("young", age=29)
    await one.answered("old", age=31)
    assert await other.found("young") == "alice"
    assert await other.found("old") is None
    assert await other.found("old", young=60) == "alice"
    assert await other.found("unknown") is None


@pytest.mark.parametrize("moves", [True, False])
async def test_of_a_stream_that_moves_it_does_for_longer(nodes: list[Node], moves: bool) -> None:
    """Until it is due to be asked about, and no longer once the stream has ended."""
    one, other = nodes
    for age, token in ((200, "known"), (301, "due")):
        await one.answered(token, age=age)
        for _ in range(2):
            one.answers.opened(Key(HOST, token))
        for _ in range(2):
            one.answers.ended(Key(HOST, token), moves=moves)
        await one.flush()
    assert await other.found("known") == ("alice" if moves else None)
    assert await other.found("due") is None
    assert await other.found("known", young=10**6) == "alice"
    assert await other.found("due", young=10**6) is None


async def test_a_stream_is_open_before_there_is_a_new_answer_and_after_it(
    nodes: list[Node],
) -> None:
    """As when its token has been asked about again."""
    one, other = nodes
    await one.moment()
    one.answers.opened(Key(HOST, "token"))
    await one.flush()
    await one.answered("token", age=100)
    assert await other.found("token") == "alice"
    await one.answered("token", age=90)
    assert await other.found("token") == "alice"
    assert one.answers._open


async def test_an_answer_ends_with_its_token(nodes: list[Node]) -> None:
    one, other = nodes
    await one.answered("token", lifetime=20)
    found = await other.answers.find(Key(HOST, "token"), 30)
    assert found is not None
    assert 15 < found.lifetime <= 20
    assert 0 <= found.age < 5
    await one.answered("short", lifetime=0.05)
    await asyncio.sleep(0.06)
    assert await other.found("short") is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer("alice", 10**15, 10.0**12, math.inf),  # from the future
        Answer("alice", 10**15, math.nan, math.inf),
        Answer("alice", 10**15, -math.inf, math.inf),
        Answer("alice", 10**15, 0.0, math.inf),
    ],
)
async def test_an_answer_without_an_age_that_makes_sense_does_not_count(
    nodes: list[Node], answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = nodes
    seal = Key.seal
    monkeypatch.setattr(Key, "seal", lambda key, _, secret: seal(key, answer, secret))
    await one.answered("token")
    assert await other.found("token", young=10**6) is None


# What comes before what


async def test_who_is_revoked_is_asked_about_and_nobody_else(nodes: list[Node]) -> None:
    one, other = nodes
    await one.answered("alice's")
    await one.answered("bob's", "bob")
    await one.control.revoke("alice")
    for node in nodes:
        assert await node.found("alice's") is None
        await node.hear()
        assert await node.found("alice's") is None
        assert await node.found("bob's") == "bob"
    await one.answered("alice's")
    assert await other.found("alice's") == "alice"


async def test_a_node_that_has_not_heard_of_the_last_revocation_relies_on_nothing(
    nodes: list[Node],
) -> None:
    """Whoever that was about, for it cannot tell."""
    one, other = nodes
    await one.answered("bob's", "bob")
    await one.control.revoke("alice")
    assert await other.found("bob's") is None
    await other.hear()
    assert await other.found("bob's") == "bob"
    other.revocations.complete = False
    assert await other.found("bob's") is None
    assert other.answers.moment() is None


async def test_what_was_asked_for_before_a_revocation_does_not_count_when_it_comes_late(
    nodes: list[Node],
) -> None:
    one, other = nodes
    asked = await one.moment()
    await one.control.revoke("alice")
    for node in nodes:
        await node.hear()
    one.answers.accepted(Key(HOST, "token"), "alice", math.inf, asked)
    await one.flush()
    assert await other.found("token") is None


async def test_who_is_refused_at_one_node_gets_in_nowhere(nodes: list[Node]) -> None:
    one, other = nodes
    await one.answered("token")
    asked = await one.moment()
    assert await other.found("token") == "alice"
    await other.refused("token")
    assert await one.found("token") is None
    one.answers.accepted(Key(HOST, "token"), "alice", math.inf, asked)
    await one.flush()
    assert await other.found("token") is None
    await one.answered("token")
    assert await other.found("token") == "alice"


async def test_a_refusal_that_redis_would_not_take_is_told_when_it_does(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then that node goes by nothing that is kept of the token."""
    one, other = nodes
    await one.answered("token")
    exchange = one.store.exchange

    async def fail(*args: Any) -> Any:
        raise BrokerUnavailable("it is gone")

    monkeypatch.setattr(one.store, "exchange", fail)
    one.answers.refused(Key(HOST, "token"))
    one.answers._send()
    await asyncio.gather(*one.answers._tasks)
    assert one.answers._timer is not None, "it is told again later"
    monkeypatch.setattr(one.store, "exchange", exchange)
    assert await other.found("token") == "alice"
    assert await one.found("token") is None
    assert await other.found("token") is None
    await one.flush()
    assert one.answers._timer is None


async def test_so_many_refusals_are_owed_and_no_more(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OWED", 10)
    for number in range(100):
        nodes[0].answers.refused(Key(HOST, str(number)))
    assert len(nodes[0].answers._owed) == 10
    await nodes[0].flush()
    assert not nodes[0].answers._owed


async def test_refusals_are_told_once_and_without_a_pause_however_many_are_owed() -> None:
    """While Redis is slow, each look-up must not have it told the same refusals again."""
    store = Slow()
    answers = answers_of(store)
    for number in range(1000):
        answers.refused(Key(HOST, str(number)))
    for number in range(5):
        assert await answers.find(Key(HOST, f"looked up {number}"), 30) is None
    assert sum(writes for writes, _ in store.calls) == 64
    store.open.set()
    await eventually(lambda: not answers._owed, timeout=5)
    assert sum(writes for writes, _ in store.calls) == 1064, "the first 64 again, for the secret"
    await answers.close()


async def test_the_log_says_when_redis_refuses_to_keep_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And not when it is gone, which others say."""
    for error, told in ((BrokerUnavailable("gone"), 0), (BrokerRefused("no right to"), 1)):

        def fail(secret: bytes, error: Exception = error) -> Any:
            raise error

        store = Slow()
        store.open.set()
        store.result = fail
        answers = answers_of(store)
        assert await answers.find(KEY, 30) is None
        await answers.close()
        assert len(caplog.records) == told


async def test_whoever_leaves_tells_all_refusals(nodes: list[Node]) -> None:
    one, other = nodes
    tokens = [str(number) for number in range(200)]
    for token in tokens:
        await one.answered(token)
    for token in tokens:
        one.answers.refused(Key(HOST, token))
    await one.close()
    assert [await other.found(token) for token in tokens] == [None] * 200


# Others on the same Redis


async def test_with_another_prefix_or_main_host_nothing_is_known(
    redis_server: RedisServer,
) -> None:
    async with cluster_of(redis_server, "p", "p", "q") as (one, other, stranger):
        await one.answered("token")
        assert await other.found("token") == "alice"
        assert await other.found("token", host="http://other.example/api/") is None
        assert await other.found("token", host=f"{HOST}v2") is None
        assert await stranger.found("token") is None


async def test_after_redis_has_lost_the_secret_nothing_from_before_counts(
    nodes: list[Node], redis_server: RedisServer
) -> None:
    """Not even what was asked for before, and comes after that."""
    one, other = nodes
    await one.answered("token")
    asked = await one.moment()
    redis_server.cli("DEL", "p:auth{0}:numbers")
    assert await other.found("token") is None
    one.answers.accepted(Key(HOST, "token"), "alice", math.inf, asked)
    await one.flush()
    assert await other.found("token") is None
    await one.answered("token")
    assert await other.found("token") == "alice"
    await other.refused("token")
    redis_server.cli("DEL", "p:auth{0}:numbers")
    await other.answered("token")
    await one.refused("token")
    assert await other.found("token") is None


async def test_a_record_that_somebody_has_copied_to_another_name_opens_nothing(
    nodes: list[Node], redis_server: RedisServer
) -> None:
    one, other = nodes
    await one.answered("alice's")
    await one.answered("bob's", "bob")
    names = [Key(HOST, token).name(one.answers._known[0].secret) for token in ("alice's", "bob's")]  # type: ignore[index]
    alice, bob = (f"p:auth{{0}}:answer:{name}" for name in names)
    redis_server.cli("COPY", alice, bob, "REPLACE")
    assert await other.found("bob's") is None
    assert await other.found("alice's") == "alice"


async def test_a_record_that_somebody_has_put_back_is_as_old_as_it_was(
    nodes: list[Node], redis_server: RedisServer
) -> None:
    """Whoever can write to Redis, but has no token, prolongs none."""
    one, other = nodes
    await one.answered("token", age=LONGEST - 0.3)
    [record] = redis_server.cli("KEYS", "p:auth{0}:answer:*")
    redis_server.cli("PERSIST", record)
    redis_server.cli("HSET", record, "at", 10**17, "number", 10**17)
    await asyncio.sleep(0.3)
    assert await other.found("token", young=10**6) is None
    redis_server.cli("DEL", record)


# Whatever Redis does


class Slow:
    """A store that answers when it is told to; all it does is counted."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.calls: list[tuple[int, int]] = []
        self.secrets = iter([b"secret"] * 1000)
        self.result: Callable[[bytes], Any] = lambda secret: (secret, 1, 0, 0.0, ())

    async def exchange(
        self, secret: bytes, writes: Sequence[Any], names: Sequence[str], keep: float
    ) -> Any:
        self.calls.append((len(writes), len(names)))
        await self.open.wait()
        reply = self.result(next(self.secrets))
        return (*reply[:4], [None] * len(names)) if reply[4] == () else reply


def answers_of(store: Any) -> Answers:
    revocations = Revocations()
    revocations.complete = True
    return Answers(store, revocations, longest=LONGEST, keep=KEEP)


async def test_nobody_waits_for_long_for_a_redis_that_is_slow() -> None:
    store = Slow()
    answers = answers_of(store)
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert await asyncio.gather(*(answers.find(KEY, 30) for _ in range(1000))) == [None] * 1000
    assert loop.time() - before < 10 * module.TIMEOUT
    store.open.set()
    await answers.close()


async def test_all_who_ask_within_some_milliseconds_share_a_command() -> None:
    store = Slow()
    store.open.set()
    answers = answers_of(store)
    keys = [Key(HOST, str(number % 50)) for number in range(1000)]
    await asyncio.gather(*(answers.find(key, 30) for key in keys))
    assert store.calls == [(0, 50), (0, 50)], "and once more for the secret"
    await asyncio.gather(*(answers.find(Key(HOST, str(number)), 30) for number in range(150)))
    assert store.calls[2:] == [(0, 64), (0, 64), (0, 22)]
    await answers.close()


async def test_an_answer_and_the_stream_that_it_opens_are_one_command() -> None:
    store = Slow()
    store.open.set()
    answers = answers_of(store)
    await answers.find(KEY, 30)
    store.calls.clear()
    answers.accepted(KEY, "alice", math.inf, answers.moment())
    await asyncio.sleep(0.01)
    answers.opened(KEY)
    await answers.close()
    assert store.calls == [(2, 0)]


async def test_nothing_is_looked_up_while_revocations_are_not_heard() -> None:
    store = Slow()
    answers = answers_of(store)
    answers._revocations.complete = False
    assert await answers.find(KEY, 30) is None
    answers.accepted(KEY, "alice", math.inf, None)
    answers.opened(KEY)
    answers.ended(KEY, moves=False)
    await answers.close()
    assert store.calls == []


@pytest.mark.parametrize(
    "result",
    [
        lambda secret: (secret, 1, 0, 0.0, []),
        lambda secret: (secret, 1, 0, 0.0, [None, None]),
        lambda secret: (secrets.token_bytes(16), 1, 0, 0.0, ()),
        lambda secret: (secret, 1, 0, math.nan, [(b"", True)]),
        lambda secret: (secret, 1, 0, 0.0, [(bytes(100), True)]),
    ],
)
async def test_a_reply_that_makes_no_sense_is_as_good_as_none(
    result: Callable[[bytes], Any],
) -> None:
    store = Slow()
    store.result = result
    store.open.set()
    answers = answers_of(store)
    assert await answers.find(KEY, 30) is None
    answers.refused(KEY)
    await answers.close()


async def test_a_redis_that_is_gone_is_as_good_as_none(own_redis: RedisServer) -> None:
    async with cluster_of(own_redis, "p") as (node,):
        await node.answered("token")
        own_redis.stop()
        assert await node.found("token") is None
        node.answers.refused(Key(HOST, "token"))


async def test_whoever_leaves_takes_nothing_from_others(nodes: list[Node]) -> None:
    one, other = nodes
    await one.answered("token")
    leaving, staying = (asyncio.create_task(other.found("token")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "alice"
    with pytest.raises(asyncio.CancelledError):
        await leaving


def test_the_node_has_a_name_of_its_own() -> None:
    """Two processes must not take each other's marks away."""
    first, second = (RedisAnswerStore(None, None) for _ in range(2))  # type: ignore[arg-type]
    assert first._node != second._node
