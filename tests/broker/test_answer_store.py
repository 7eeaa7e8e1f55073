"""Answers of the main host in a real Redis: which of two is kept, and what ends them."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from aionotify.broker.answer_store import RedisAnswerStore, Reply, Write
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.keys import Keys
from aionotify.errors import BrokerRefused, BrokerUnavailable
from tests.broker.executes import on_one_connection
from tests.harness import RedisServer

NUMBERS, REVOKED = "p:auth{0}:numbers", "p:auth{0}:revoked"
ONE, OTHER = "abc1", "def2"
KEEP = 300


class Node:
    """A store as a node uses it, by whatever secret Redis names last."""

    def __init__(self, store: RedisAnswerStore) -> None:
        self.store = store
        self.secret = b""

    async def exchange(
        self, writes: Sequence[Write] = (), names: Sequence[str] = (), keep: float = KEEP
    ) -> Reply:
        reply = await self.store.exchange(self.secret, writes, names, keep)
        self.secret = reply[0]
        return reply

    async def number(self) -> int:
        return (await self.exchange())[1]

    async def read(self, name: str = ONE) -> tuple[bytes, bool] | None:
        return (await self.exchange(names=[name]))[-1][0]

    async def put(
        self, sealed: bytes, number: int | None = None, *, at: int = 0, name: str = ONE
    ) -> tuple[bytes, bool] | None:
        """Write an answer; returns what is there then."""
        number = await self.number() if number is None else number
        return (await self.exchange([answered(sealed, number, at, name)], [name]))[-1][0]

    async def refuse(self, name: str = ONE) -> int:
        """Returns the number that the refusal took."""
        return (await self.exchange([(name, "refused", 0, 0, 0, b"")]))[1]

    async def mark(self, kind: str, name: str = ONE) -> None:
        await self.exchange([(name, kind, 0, 0, 0, b"")])


def answered(sealed: bytes, number: int, at: int = 0, name: str = ONE, ttl: int = 9) -> Write:
    return name, "answered", number, at, ttl, sealed


@contextlib.asynccontextmanager
async def nodes(server: RedisServer) -> AsyncIterator[list[Node]]:
    async with Redis(port=server.port, protocol=2) as client:
        stores = [RedisAnswerStore(by_client(lambda: client), Keys("p", "")) for _ in range(2)]
        yield [Node(store) for store in stores]
        for store in stores:
            await store.close()


@pytest.fixture
async def both(redis_server: RedisServer) -> AsyncIterator[list[Node]]:
    """Two nodes that know the secret."""
    async with nodes(redis_server) as made:
        for node in made:
            await node.exchange()
        yield made


async def test_what_one_node_writes_all_read(both: list[Node]) -> None:
    one, other = both
    assert await other.read() is None
    await one.put(b"answer")
    assert await other.read() == (b"answer", False)
    assert await other.read(OTHER) is None


async def test_many_are_written_and_read_in_one_command(
    both: list[Node], redis_server: RedisServer
) -> None:
    one, other = both
    names = [f"{number:04}" for number in range(64)]
    number = await one.number()
    redis_server.cli("CONFIG", "RESETSTAT")
    await one.exchange([answered(name.encode(), number, name=name) for name in names])
    assert (await other.exchange(names=names))[-1] == [(name.encode(), False) for name in names]
    stats = redis_server.cli("INFO", "commandstats")
    assert sum(stats[name]["calls"] for name in stats if "eval" in name) == 2


async def test_of_two_answers_the_newer_one_is_kept_whichever_comes_first(
    both: list[Node],
) -> None:
    """By their numbers, and where these are the same by when they were asked for."""
    one, other = both
    number = await one.number()
    await one.refuse(OTHER)
    assert await other.put(b"newer", number + 1, at=1) == (b"newer", False)
    assert await one.put(b"late", number, at=9) == (b"newer", False)
    assert await one.put(b"as old", number + 1, at=0) == (b"newer", False)
    assert await one.put(b"newest", number + 1, at=2) == (b"newest", False)


async def test_a_refusal_ends_what_was_asked_for_before_it(both: list[Node]) -> None:
    """Be it written already, or later; and also when there was nothing to refuse."""
    one, other = both
    before = 0
    for _ in range(2):
        before = await one.number()
        await one.put(b"answer", before)
        assert await other.refuse() > before
        assert await one.read() is None
        assert await one.put(b"late", before) is None
    assert await one.put(b"again") == (b"again", False)
    await other.refuse(OTHER)
    assert await one.read() == (b"again", False)


async def test_a_number_that_redis_has_not_given_out_does_not_count(both: list[Node]) -> None:
    """It is from a master whose place this one has taken, without knowing of all that it did."""
    one, _ = both
    assert await one.put(b"answer", await one.number() + 1) is None


async def test_a_stream_is_open_until_the_last_node_has_ended_its_own(both: list[Node]) -> None:
    one, other = both
    await one.put(b"answer")
    for node in both:
        await node.mark("opened")
    await one.mark("ended")
    await one.mark("ended")
    assert await one.read() == (b"answer", True)
    await other.mark("ended")
    assert await one.read() == (b"answer", False)


async def test_of_a_token_without_an_answer_nothing_is_kept(
    both: list[Node], redis_server: RedisServer
) -> None:
    """Whoever makes up tokens fills nothing: what is known of refusals has 4096 places."""
    one, _ = both
    for number in range(5000):
        name = f"{number % 4096:03x}{number}"
        await one.mark("opened", name)
        await one.refuse(name)
    assert redis_server.cli("KEYS", "*") == [NUMBERS]
    assert redis_server.cli("HLEN", NUMBERS) == 4096 + 2
    assert redis_server.cli("MEMORY", "USAGE", NUMBERS) < 600_000


async def test_a_new_answer_takes_the_marks_of_nodes_away_that_may_be_gone(
    both: list[Node],
) -> None:
    one, _ = both
    await one.put(b"answer")
    await one.mark("opened")
    assert await one.put(b"next", at=1) == (b"next", False)


async def test_all_of_it_goes_by_itself(both: list[Node], redis_server: RedisServer) -> None:
    one, other = both
    await one.exchange([answered(b"answer", await one.number(), ttl=20)])
    await one.mark("opened")
    [record] = [key for key in redis_server.cli("KEYS", "*") if key != NUMBERS]
    assert 15 < redis_server.cli("TTL", record) <= 20
    assert KEEP - 10 < redis_server.cli("TTL", NUMBERS) <= KEEP
    await one.exchange([(OTHER, "refused", 0, 0, 0, b"")], keep=1000)
    await other.exchange([(OTHER, "refused", 0, 0, 0, b"")], keep=100)
    assert 990 < redis_server.cli("TTL", NUMBERS) <= 1000


async def test_with_another_secret_nothing_is_done_and_it_is_told(
    both: list[Node], redis_server: RedisServer
) -> None:
    """Once made it stays, and once lost there is another one, and higher numbers."""
    one, other = both
    assert one.secret == other.secret
    before, secret = await one.number(), one.secret
    await one.put(b"answer")
    redis_server.cli("DEL", NUMBERS)
    found = await one.exchange([answered(b"late", before), (ONE, "refused", 0, 0, 0, b"")], [ONE])
    assert found[0] != secret
    assert found[1] > before
    assert found[-1] == []
    assert await other.store.exchange(one.secret, [], [ONE], KEEP)
    assert (await other.exchange())[0] == one.secret


async def test_the_time_is_that_of_redis(both: list[Node], redis_server: RedisServer) -> None:
    one, _ = both
    seconds, microseconds = redis_server.cli("TIME")
    now = (await one.exchange())[3]
    assert math.isclose(now, int(seconds) + int(microseconds) / 1e6, abs_tol=10)


@pytest.mark.parametrize(
    "garbage",
    [
        ("SET", NUMBERS, "x"),
        ("HSET", NUMBERS, "secret", "x"),
        ("HSET", NUMBERS, "secret", "x", "number", "x"),
        ("HSET", NUMBERS, "secret", "x", "number", "1", "revoked", "x"),
        ("HSET", NUMBERS, "secret", "x", "number", "1e999"),
        ("HSET", NUMBERS, "secret", "x", "number", "1", "abc", "x"),
        ("SET", f"p:auth{{0}}:answer:{ONE}", "x"),
        ("HSET", f"p:auth{{0}}:answer:{ONE}", "number", "x", "at", "x"),
    ],
)
async def test_whatever_somebody_has_put_there_is_refused_or_overwritten(
    redis_server: RedisServer, garbage: tuple[str, ...]
) -> None:
    redis_server.cli(*garbage)
    async with nodes(redis_server) as (one, _):
        with contextlib.suppress(BrokerRefused):
            number = await one.number()
            assert await one.put(b"answer", number) in ((b"answer", False), None)
    redis_server.cli("FLUSHALL")


async def test_a_redis_that_stores_nothing_can_still_be_read(own_redis: RedisServer) -> None:
    async with nodes(own_redis) as (one, _):
        await one.exchange()
        number = await one.number()
        await one.put(b"answer", number)
        own_redis.cli("CONFIG", "SET", "maxmemory", 1)
        assert await one.read() == (b"answer", False)
        with pytest.raises(BrokerRefused):
            await one.put(b"other", number)
        await one.refuse()
        assert await one.read() is None, "a refusal ends an answer even then"


async def test_without_redis_nothing_is_known(own_redis: RedisServer) -> None:
    own_redis.stop()
    async with on_one_connection(own_redis.port) as execute:
        store = RedisAnswerStore(execute, Keys("p", ""))
        with pytest.raises(BrokerUnavailable):
            async with asyncio.timeout(10):
                await store.exchange(b"", [], [], KEEP)
        await store.close()
