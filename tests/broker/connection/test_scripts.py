"""Script calls travel together, stay in order, and each gets its own answer."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from aionotify.broker.connection.pipeline import Command, by_client
from aionotify.broker.connection.scripts import Script, Words
from aionotify.errors import BrokerError, BrokerRefused, BrokerUnavailable
from tests.broker.executes import TIMEOUT, by_redis_py, on_one_connection
from tests.harness import RedisServer, TcpProxy

ScriptAt = Callable[[int], contextlib.AbstractAsyncContextManager[Script]]


@pytest.fixture(params=[on_one_connection, by_redis_py])
def script_at(request: pytest.FixtureRequest) -> ScriptAt:
    """append.lua at a port, carried out in either way."""

    @contextlib.asynccontextmanager
    async def open_script(port: int) -> AsyncIterator[Script]:
        async with request.param(port) as execute:
            script = Script(execute, "append.lua")
            try:
                yield script
            finally:
                await script.close()

    return open_script


@pytest.fixture
async def append(script_at: ScriptAt, redis_server: RedisServer) -> AsyncIterator[Script]:
    async with script_at(redis_server.port) as script:
        yield script


def call(script: Script, event: str, user: str = "u") -> asyncio.Future[Any]:
    channel = f"s:{{{user}}}"
    return script.call((f"{channel}:inbox",), (channel, event, 10000, 600, 60, "PUBLISH", 0, 0))


def stored(server: RedisServer, user: str = "u") -> list[str]:
    return [entry.split()[2] for entry in server.cli("LRANGE", f"s:{{{user}}}:inbox", 0, -1)]


def errors_told(server: RedisServer, kind: str) -> bool:
    return f"errorstat_{kind}" in server.cli("INFO", "errorstats")


@contextlib.contextmanager
def nothing_reported() -> Iterator[None]:
    """Fail when the event loop is told of an error that nobody looked at."""
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
    yield
    gc.collect()
    assert not reported


async def test_many_calls_are_answered_in_order(append: Script, redis_server: RedisServer) -> None:
    """Also when they make up many batches."""
    replies = await asyncio.gather(*(call(append, str(number)) for number in range(500)))
    positions = [int(position) for position, _, _ in replies]
    assert positions == sorted(set(positions))
    assert stored(redis_server) == [str(number) for number in range(500)]


async def test_many_calls_need_one_connection(append: Script, redis_server: RedisServer) -> None:
    """However many callers there are."""
    before = int(redis_server.cli("INFO", "stats")["total_connections_received"])
    await asyncio.gather(*(call(append, "e", str(user)) for user in range(200)))
    after = int(redis_server.cli("INFO", "stats")["total_connections_received"])
    assert after - before - 1 == 1  # one of the two is that of the second question


async def test_calls_in_line_do_not_hold_what_is_made_when_they_are_sent() -> None:
    """However many there are, and however long it is."""
    made = sent = most = 0
    batches: list[int] = []
    event = b"x" * 100_000

    def words() -> Words:
        nonlocal made, most
        made += len(event)
        most = max(most, made - sent)
        return 1, "k", event

    async def execute(commands: Sequence[Command]) -> list[Any]:
        nonlocal sent
        batches.append(len(commands))
        await asyncio.sleep(0)
        sent += len(commands) * len(event)
        return [None] * len(commands)

    script = Script(execute, "append.lua")
    await asyncio.gather(*(script.call_lazily(words, len(event)) for _ in range(500)))
    assert made == sent == 500 * len(event)
    assert most <= 1 << 20
    assert max(batches) == 10
    batches.clear()
    await asyncio.gather(*(script.call_lazily(words, 1 << 30) for _ in range(3)))
    assert batches == [1, 1, 1], "what is too long for a batch goes by itself"


async def test_a_part_of_a_batch_that_is_not_answered_is_waited_for_once() -> None:
    calls = 0

    async def execute(commands: Sequence[Command]) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 1:
            return [None] * len(commands)
        raise TimeoutError

    script = Script(execute, "append.lua")
    results = await asyncio.gather(
        *(script.call_lazily(lambda: (0,), 1 << 20) for _ in range(5)), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None), *[BrokerUnavailable] * 4]
    assert calls == 2


@pytest.mark.parametrize("count", [1, 3])
async def test_a_script_that_redis_has_forgotten_is_loaded_again(
    append: Script, redis_server: RedisServer, count: int
) -> None:
    await call(append, "before")
    redis_server.cli("SCRIPT", "FLUSH")
    await asyncio.gather(*(call(append, str(number)) for number in range(count)))
    assert stored(redis_server) == ["before", *(str(number) for number in range(count))]


async def test_a_batch_asks_for_no_script_that_redis_may_not_have(
    script_at: ScriptAt, own_redis: RedisServer
) -> None:
    """Or of two calls the first could be refused, and carried out after the second."""
    async with script_at(own_redis.port) as append:
        await asyncio.gather(*(call(append, str(number)) for number in range(3)))
        assert not errors_told(own_redis, "NOSCRIPT")
        own_redis.cli("SCRIPT", "FLUSH")
        await call(append, "alone")
        assert errors_told(own_redis, "NOSCRIPT")  # so the assert above can fail


async def test_order_holds_while_scripts_are_flushed(
    script_at: ScriptAt, own_redis: RedisServer
) -> None:
    """Again and again, in the middle of batches too."""
    flushing = True

    async def flush() -> None:
        async with Redis(port=own_redis.port, protocol=2) as client:
            while flushing:
                await client.script_flush()

    async with script_at(own_redis.port) as append:
        task = asyncio.create_task(flush())
        for start in range(0, 3000, 100):
            numbers = range(start, start + 100)
            await asyncio.gather(*(call(append, str(number)) for number in numbers))
        flushing = False
        await task
    assert stored(own_redis) == [str(number) for number in range(3000)]


async def test_a_refused_call_costs_the_others_nothing(
    append: Script, redis_server: RedisServer
) -> None:
    redis_server.cli("SET", "s:{bad}:inbox", "no list", "EX", 60)
    calls = (call(append, "e", user) for user in ("a", "bad", "c"))
    first, refused, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(refused, BrokerRefused)
    assert not isinstance(first, BaseException)
    assert not isinstance(last, BaseException)


async def test_a_refused_call_costs_the_others_nothing_when_the_script_is_new(
    append: Script, redis_server: RedisServer
) -> None:
    """The one that has to be repeated is the one that is refused."""
    redis_server.cli("SET", "s:{bad}:inbox", "no list", "EX", 60)
    redis_server.cli("SCRIPT", "FLUSH")
    with pytest.raises(BrokerRefused):
        await call(append, "e", "bad")


async def test_without_redis_every_call_fails_and_the_next_one_works(
    script_at: ScriptAt,
    own_redis: RedisServer,
) -> None:
    """The caller decides whether to ask again; here nothing is done twice."""
    async with script_at(own_redis.port) as append:
        await call(append, "before")
        own_redis.stop()
        failed = await asyncio.gather(
            *(call(append, str(number)) for number in range(200)), return_exceptions=True
        )
        assert {type(error) for error in failed} == {BrokerUnavailable}
        own_redis.start()
        await call(append, "after")
        assert stored(own_redis) == ["after"]


@pytest.mark.parametrize("connected", [True, False])
async def test_a_silent_redis_keeps_nobody_for_longer_than_one_timeout(
    script_at: ScriptAt, own_redis: RedisServer, connected: bool
) -> None:
    """Not one timeout for each batch: those who wait behind the first share its fate."""
    async with script_at(own_redis.port) as append:
        if connected:
            await call(append, "before")
        own_redis.pause()
        started = time.monotonic()
        failed = await asyncio.gather(
            *(call(append, str(number)) for number in range(1000)), return_exceptions=True
        )
        taken = time.monotonic() - started
        own_redis.resume()
    assert {type(error) for error in failed} == {BrokerUnavailable}
    assert TIMEOUT <= taken < 4 * TIMEOUT


async def test_a_lost_answer_is_an_error_and_the_call_is_not_repeated(
    script_at: ScriptAt,
    own_redis: RedisServer,
) -> None:
    """Redis has stored the event; only whoever asked can know whether to ask again."""
    async with TcpProxy(own_redis.port) as proxy, script_at(proxy.port) as append:
        await call(append, "before")
        proxy.cut_after(3)
        with pytest.raises(BrokerUnavailable):
            await call(append, "once")
        await call(append, "after")
    assert stored(own_redis) == ["before", "once", "after"]


async def test_a_caller_who_leaves_before_the_call_was_sent_has_not_called(
    append: Script, redis_server: RedisServer
) -> None:
    left, stays = call(append, "left"), call(append, "stays")
    left.cancel()
    await stays
    assert stored(redis_server) == ["stays"]


async def test_all_callers_may_leave(append: Script, redis_server: RedisServer) -> None:
    """And whoever comes after them gets his own answer."""
    call(append, "left").cancel()
    await append.close()
    assert stored(redis_server) == []
    await call(append, "next")
    await call(append, "last")
    assert stored(redis_server) == ["next", "last"]


async def test_nobody_is_told_of_a_failure_whose_caller_has_left(
    script_at: ScriptAt, own_redis: RedisServer
) -> None:
    async with script_at(own_redis.port) as append:
        own_redis.stop()
        with nothing_reported():
            call(append, "nobody looks")
            await append.close()


async def test_closing_waits_for_what_is_under_way(
    append: Script, redis_server: RedisServer
) -> None:
    calls = [call(append, str(number)) for number in range(200)]
    await append.close()
    assert all(each.done() for each in calls)
    assert len(stored(redis_server)) == 200


async def test_an_argument_that_cannot_be_sent_is_its_callers_error(append: Script) -> None:
    """An error of the program, so as it is, and the next call works."""
    with pytest.raises(UnicodeEncodeError):
        await call(append, "\ud800")
    with contextlib.suppress(BrokerError):
        await call(append, "{}")


async def test_a_bug_in_asking_whether_it_is_kept_is_told_to_all_callers(
    redis_server: RedisServer,
) -> None:
    """As it is, and to them alone: that they had been cancelled would be a lie."""
    bugs = [ZeroDivisionError()]

    async def kept() -> None:
        if bugs:
            raise bugs.pop()

    async with Redis(port=redis_server.port, protocol=2) as client:
        append = Script(by_client(lambda: client), "append.lua", kept)
        calls = [call(append, str(number)) for number in range(100)]
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(error) for error in failed[:64]] == [ZeroDivisionError] * 64  # one batch
        assert not any(isinstance(each, BaseException) for each in failed[64:])
