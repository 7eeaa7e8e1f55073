"""Commands of many callers on one connection: each gets its own answer, or learns why not."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, ResponseError

from aionotify.broker.connection.endpoint import LOST
from aionotify.broker.connection.pipeline import Command, Execute, Pipeline
from aionotify.errors import BrokerUnavailable
from tests.broker.executes import NAME, TIMEOUT, on_one_connection
from tests.harness import RedisServer, TcpProxy, eventually


@pytest.fixture
async def execute(own_redis: RedisServer) -> AsyncIterator[Execute]:
    async with on_one_connection(own_redis.port) as execute:
        yield execute


def commands_of(execute: Execute) -> Pipeline:
    commands: Pipeline = execute.__self__  # type: ignore[attr-defined]
    return commands


def connections(server: RedisServer) -> int:
    """How many there have been, but for the one that asks."""
    return int(server.cli("INFO", "stats")["total_connections_received"])


async def echo(execute: Execute, *words: str) -> list[str]:
    return [reply.decode() for reply in await execute([("ECHO", word) for word in words])]


async def test_each_caller_gets_the_answers_to_what_he_asked(execute: Execute) -> None:
    """However many ask at once, and however much each of them does."""
    asked = [[f"{caller}-{n}" for n in range(caller % 7 + 1)] for caller in range(100)]
    assert await asyncio.gather(*(echo(execute, *words) for words in asked)) == asked


async def test_commands_go_over_one_connection_and_none_before_it_is_needed(
    execute: Execute, own_redis: RedisServer
) -> None:
    before = connections(own_redis)
    await asyncio.gather(*(echo(execute, "x") for _ in range(50)))
    await echo(execute, "x")
    assert connections(own_redis) - before == 1 + 1


async def test_words_of_every_kind_arrive_as_they_were_meant(execute: Execute) -> None:
    words: Sequence[Command] = [("ECHO", b"\x00\xff\r\n"), ("ECHO", "\u20ac"), ("ECHO", 2**53)]
    assert await execute(words) == [b"\x00\xff\r\n", "\u20ac".encode(), b"9007199254740992"]
    assert await execute([("ECHO", 0.5)]) == [b"0.5"]


async def test_an_answer_of_many_reads_is_whole(execute: Execute) -> None:
    long = "x" * 1_000_000
    asked = [[long], ["short"]]
    assert await asyncio.gather(*(echo(execute, *words) for words in asked)) == asked


async def test_a_refusal_of_redis_is_an_answer_and_the_others_get_theirs(execute: Execute) -> None:
    first, refused, last = await execute([("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")])
    assert isinstance(refused, ResponseError)
    assert (first, last) == (b"a", b"b")


async def test_a_command_that_cannot_be_sent_is_its_callers_error_and_nobody_elses(
    execute: Execute,
) -> None:
    """Or all answers after it would go to the wrong callers."""
    good = asyncio.create_task(echo(execute, "a"))
    with pytest.raises(UnicodeEncodeError):
        await echo(execute, "b", "\ud800")
    assert await good == ["a"]
    assert await echo(execute, "c") == ["c"]


async def test_a_caller_who_leaves_takes_nobody_elses_answer(
    execute: Execute, own_redis: RedisServer
) -> None:
    await echo(execute, "connected")
    own_redis.pause()
    callers = [asyncio.create_task(echo(execute, str(n), "x")) for n in range(3)]
    await asyncio.sleep(0)
    callers[1].cancel()
    await asyncio.wait([callers[1]])
    own_redis.resume()
    assert [await callers[0], await callers[2]] == [["0", "x"], ["2", "x"]]
    assert await echo(execute, "after") == ["after"]


async def test_a_caller_who_waits_when_the_connection_is_lost_is_told_at_once(
    execute: Execute, own_redis: RedisServer
) -> None:
    await echo(execute, "connected")
    # Answered only when somebody pushes, or the connection ends.
    waiting = [asyncio.ensure_future(execute([("BLPOP", "nothing", 60)])) for _ in range(3)]
    await eventually(lambda: own_redis.cli("INFO", "clients")["blocked_clients"] == 1)
    own_redis.cli("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(error, LOST) for error in failed)
    assert await echo(execute, "after") == ["after"]


async def test_a_connection_that_is_lost_while_nobody_asks_costs_nobody_an_error(
    execute: Execute, own_redis: RedisServer
) -> None:
    """As when Redis is restarted in a quiet hour."""
    await echo(execute, "before")
    session = commands_of(execute)._session
    assert session is not None
    own_redis.stop()
    own_redis.start()
    await eventually(lambda: session._ended)
    assert await echo(execute, "after") == ["after"]


async def test_a_connection_lost_at_the_last_moment_is_an_outage(
    execute: Execute, own_redis: RedisServer
) -> None:
    """After it was found to be good, and before anything is sent."""
    await echo(execute, "before")
    session: Any = commands_of(execute)._session
    answer = session.execute([("ECHO", "lost")])
    session.connection._writer.transport.abort()
    with pytest.raises(LOST):
        await answer
    await eventually(lambda: session._ended)
    assert await echo(execute, "after") == ["after"]


async def test_a_connection_that_is_given_up_in_the_moment_in_which_it_is_made_is_an_outage(
    execute: Execute,
) -> None:
    """As when the subscriber finds out just then that this may be another Redis."""
    commands: Any = commands_of(execute)
    connect = commands._connect

    async def connect_and_drop() -> AbstractConnection:
        connection: AbstractConnection = await connect()
        # Before whoever waits for the connection is told that it is there.
        asyncio.get_running_loop().call_soon(commands.drop, "another Redis")
        return connection

    commands._connect = connect_and_drop
    async with asyncio.timeout(20):
        with pytest.raises(LOST):
            await echo(execute, "lost")
    commands._connect = connect
    assert await echo(execute, "after") == ["after"]


async def test_without_redis_all_who_ask_are_told_and_later_it_works(
    execute: Execute, own_redis: RedisServer
) -> None:
    own_redis.stop()
    calls = (echo(execute, "x") for _ in range(10))
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in failed} == {BrokerUnavailable}
    own_redis.start()
    assert await echo(execute, "after") == ["after"]


async def test_a_master_that_was_demoted_is_left(execute: Execute, own_redis: RedisServer) -> None:
    """A Sentinel would send whoever connects anew to the next one."""
    assert await execute([("SET", "k", "v", "EX", 60)]) == [b"OK"]
    own_redis.cli("REPLICAOF", "127.0.0.1", 1)
    before = connections(own_redis)
    [refused] = await execute([("SET", "k", "v", "EX", 60)])
    assert isinstance(refused, ReadOnlyError)
    own_redis.cli("REPLICAOF", "NO", "ONE")
    assert await execute([("SET", "k", "v", "EX", 60)]) == [b"OK"]
    assert connections(own_redis) - before == 1 + 2


async def test_a_caller_who_waits_when_the_pipeline_is_closed_is_told(
    execute: Execute, own_redis: RedisServer
) -> None:
    await echo(execute, "connected")
    waiting = asyncio.ensure_future(execute([("BLPOP", "nothing", 60)]))
    await eventually(lambda: own_redis.cli("INFO", "clients")["blocked_clients"] == 1)
    await commands_of(execute).close()
    with pytest.raises(LOST):
        await waiting


async def test_a_caller_who_comes_while_a_connection_is_made_shares_its_fate(
    own_redis: RedisServer,
) -> None:
    """One after the other, each would wait for as long again."""
    async with TcpProxy(own_redis.port) as proxy, on_one_connection(proxy.port) as execute:
        proxy.stall()
        calls = (echo(execute, "x") for _ in range(5))
        failed = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in failed} == {BrokerUnavailable}
        assert proxy.accepted == 1
        await proxy.restore()
        assert await echo(execute, "after") == ["after"]


async def test_a_caller_who_leaves_while_a_connection_is_made_takes_it_from_nobody(
    own_redis: RedisServer,
) -> None:
    async with TcpProxy(own_redis.port) as proxy, on_one_connection(proxy.port) as execute:
        proxy.stall()
        leaving, staying = (asyncio.create_task(echo(execute, word)) for word in "ab")
        await eventually(lambda: proxy.accepted)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        await proxy.restore()
        assert await staying == ["b"]
        assert proxy.accepted == 1


async def test_closing_while_a_connection_is_made_leaves_none(own_redis: RedisServer) -> None:
    async with TcpProxy(own_redis.port) as proxy, on_one_connection(proxy.port) as execute:
        proxy.stall()
        waiting = asyncio.create_task(echo(execute, "x"))
        await eventually(lambda: proxy.accepted)
        await commands_of(execute).close()
        for failing in (waiting, echo(execute, "later")):
            with pytest.raises(LOST):
                await failing


async def test_a_connection_closed_before_anything_is_heard_leaves_nobody_waiting(
    execute: Execute,
) -> None:
    """In the very step in which it was made."""
    commands = commands_of(execute)
    session = await commands._open()
    answer = session.execute([("PING",)])
    await commands.close()
    with pytest.raises(LOST):
        await answer


async def test_no_commands_have_no_answers(execute: Execute) -> None:
    """And what is asked next has an answer of its own."""
    assert await execute([]) == []
    assert await echo(execute, "x") == ["x"]


async def test_a_redis_that_was_restarted_while_the_loop_stood_still_costs_nobody_an_error(
    execute: Execute, own_redis: RedisServer
) -> None:
    """As with an application that runs its loop now and then."""
    await echo(execute, "before")
    own_redis.restart()  # not in a thread: the end of the connection cannot be heard meanwhile
    assert await echo(execute, "after") == ["after"]


ON_MANY_LOOPS = """
import asyncio, sys
from aionotify import Publisher
publisher = Publisher(sys.argv[1])
for n in range(4):
    loop = asyncio.new_event_loop()  # and no end of anything, as asyncio.run would bring about
    print(loop.run_until_complete(publisher.publish({"recipient_id": "u", "n": n})).event_id)
    loop.close()
"""


def test_one_publisher_may_be_used_on_one_event_loop_after_the_other(
    own_redis: RedisServer,
) -> None:
    words = [sys.executable, "-c", ON_MANY_LOOPS, own_redis.url]
    run = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert len(run.stdout.split()) == 4, run.stderr
    assert len(own_redis.cli("LRANGE", "aionotify:{u}:inbox", 0, -1)) == 4
    assert "Traceback" not in run.stderr


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def talking_to(serve: Serve) -> AsyncIterator[Execute]:
    """A server of another make."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(f"{NAME}\r\n".encode())
            writer.write(b"+OK\r\n")
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server, on_one_connection(server.sockets[0].getsockname()[1]) as execute:
        yield execute


async def test_an_answer_may_take_its_time_as_long_as_it_comes() -> None:
    """Bytes are a sign of life. These take longer than Redis may be silent."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"$12\r\n")
        for byte in b"from far off\r\n":
            await asyncio.sleep(TIMEOUT / 6)
            writer.write(bytes([byte]))
        await reader.read()

    async with talking_to(drip) as execute:
        assert await execute([("PING",)]) == [b"from far off"]


async def test_an_answer_that_nobody_has_asked_for_ends_the_connection() -> None:
    """From there on, everybody would get somebody else's."""
    ended = asyncio.Event()

    async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"PING\r\n")
        writer.write(b"+PONG\r\n+PONG\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with talking_to(chatter) as execute:
        assert await execute([("PING",)]) == [b"PONG"]
        await ended.wait()
