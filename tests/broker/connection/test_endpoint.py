"""Connections to a real Redis, in good times and in bad."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from aionotify.broker.connection import endpoint as endpoint_module
from aionotify.broker.connection.endpoint import Endpoint, OtherServer, translate, translated
from aionotify.config import RedisConfig
from aionotify.errors import BrokerError, BrokerRefused, BrokerUnavailable
from tests.broker.connection.helpers import connections, endpoint, published, say
from tests.harness import RedisServer, TcpProxy, eventually, free_port


@contextlib.asynccontextmanager
async def subscribed(made: Endpoint, channel: str) -> AsyncIterator[AbstractConnection]:
    connection = await made.subscriber()
    try:
        await connection.send_command("SUBSCRIBE", channel)
        assert await connection.read_response() == [b"subscribe", channel.encode(), 1]
        yield connection
    finally:
        await connection.disconnect()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give up much sooner than one should, for the tests' sake; returns the seconds."""
    monkeypatch.setattr(endpoint_module, "TIMEOUT", 0.4)
    return 0.4


async def test_endpoint_talks_to_redis_over_tcp(redis_server: RedisServer) -> None:
    """Commands and subscriptions, in bytes."""
    async with endpoint(redis_server.url) as made:
        assert made.description == redis_server.url
        await published(made, "channel")


async def test_endpoint_talks_to_redis_over_a_unix_socket(tmp_path: Path) -> None:
    """The same through a socket file."""
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, options={"unixsocket": str(path)}) as server:
        async with endpoint(f"unix://{path}?db=2") as made:
            await published(made, "channel")
            await say(made, "SET", "key", "value")
        assert server.cli("INFO", "keyspace")["db2"]["keys"] == 1


async def test_endpoint_talks_to_a_redis_of_its_own() -> None:
    """With embedded:// there is a server between start() and close()."""
    async with endpoint("embedded://") as made:
        assert made.description == "embedded://"
        await published(made, "channel")


async def test_endpoint_logs_in_and_selects_the_database(own_redis: RedisServer) -> None:
    """User, password and database of the address are used, by both kinds of connections."""
    own_redis.cli("ACL", "SETUSER", "me", "on", ">p@ss/", "allkeys", "allchannels", "+@all")
    async with endpoint(f"redis://me:p%40ss%2F@127.0.0.1:{own_redis.port}/3") as made:
        await say(made, "SET", "key", "value")
        async with subscribed(made, "channel"):
            clients = own_redis.cli("CLIENT LIST")
    assert own_redis.cli("INFO", "keyspace")["db3"]["keys"] == 1
    ours = {client["name"]: client for client in clients if client["user"] == "me"}
    assert {name: client["resp"] for name, client in ours.items()} == {
        "aionotify-writes": "2",
        "aionotify-subscriber": "2",
    }


async def test_a_wrong_password_is_a_refusal(own_redis: RedisServer) -> None:
    """It is no outage, and it is not quoted."""
    own_redis.cli("CONFIG", "SET", "requirepass", "right")
    for userinfo in ("", ":wrong-one@"):
        async with endpoint(f"redis://{userinfo}127.0.0.1:{own_redis.port}") as made:
            with pytest.raises(BrokerRefused) as caught:
                await say(made, "PING")
            assert "wrong-one" not in str(caught.value)
            with pytest.raises(BrokerRefused):
                await made.subscriber()
            with pytest.raises(BrokerRefused):
                await made.commands("reads").execute([("PING",)])


async def test_a_wrong_password_is_a_refusal_on_a_unix_socket_too(tmp_path: Path) -> None:
    """And no connection is left open by it."""
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, options={"unixsocket": str(path)}) as server:
        server.cli("CONFIG", "SET", "requirepass", "right")
        async with endpoint(f"unix://:wrong-one@{path}") as made:
            with pytest.raises(BrokerRefused) as caught:
                await made.subscriber()
            assert "wrong-one" not in str(caught.value)
        async with endpoint(f"unix://:right@{path}") as made:
            clients = (await say(made, "CLIENT", "LIST")).decode().splitlines()
            assert [line.split(" name=")[1].split()[0] for line in clients] == ["aionotify-writes"]


async def test_a_subscriber_waits_for_ever(redis_server: RedisServer) -> None:
    """Its reads have no time limit, which redis-py would set at 5 seconds."""
    async with endpoint(redis_server.url) as made, subscribed(made, "channel") as connection:
        assert connection.socket_timeout is None


async def test_a_subscriber_notices_when_the_network_is_gone(redis_server: RedisServer) -> None:
    """Keepalive and TCP_USER_TIMEOUT are set on its socket."""
    async with endpoint(redis_server.url) as made, subscribed(made, "channel") as connection:
        assert connection._writer is not None
        sock = connection._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.SOL_TCP, socket.TCP_KEEPIDLE) == 5
        assert sock.getsockopt(socket.SOL_TCP, socket.TCP_USER_TIMEOUT) == 5000


async def test_an_absent_redis_is_an_outage() -> None:
    """Nobody listens: both kinds of connections say so, naming the place."""
    port = free_port()
    async with endpoint(f"redis://127.0.0.1:{port}") as made:
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"):
            await say(made, "PING")
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"):
            await made.subscriber()


async def test_a_frozen_redis_is_an_outage_and_nobody_waits_for_long(
    own_redis: RedisServer, impatient: float
) -> None:
    """It accepts connections and never answers: new ones, and those of before, give up."""
    async with endpoint(own_redis.url) as made:
        await say(made, "PING")
        own_redis.pause()
        async with asyncio.timeout(impatient * 10):
            for _ in range(2):  # with a connection of before, and with a new one
                with pytest.raises(BrokerUnavailable):
                    await say(made, "PING")
            with pytest.raises(BrokerUnavailable, match="TimeoutError"):
                await made.subscriber()
        own_redis.resume()
        assert await say(made, "PING")


async def test_a_subscriber_given_up_while_connecting_leaves_nothing(
    own_redis: RedisServer,
) -> None:
    """A cancelled subscriber() closes what it has opened."""
    async with endpoint(own_redis.url) as made, TcpProxy(own_redis.port) as proxy:
        proxy.stall()
        through = Endpoint(RedisConfig(url=proxy.url))
        task = asyncio.create_task(through.subscriber())
        await eventually(lambda: proxy.accepted == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await proxy.restore()
        await eventually(lambda: connections(own_redis, "") == 1)
        await say(made, "PING")


async def test_the_first_command_after_a_restart_works(own_redis: RedisServer) -> None:
    """Connections that Redis has closed are made anew, unnoticed."""
    async with endpoint(own_redis.url) as made:
        await asyncio.gather(*(say(made, "PING") for _ in range(5)))
        # In a thread: our side of the connections has to hear that they are closed.
        await asyncio.to_thread(own_redis.restart)
        assert all(await asyncio.gather(*(say(made, "PING") for _ in range(5))))


async def test_closing_closes_every_connection_and_can_be_repeated(
    redis_server: RedisServer,
) -> None:
    """After close() Redis has no connection of ours; a second close() does no harm."""
    async with endpoint(redis_server.url) as made:
        await say(made, "PING")
        await made.commands("reads").execute([("PING",)])
        await made.close()
        await eventually(lambda: connections(redis_server, "aionotify-writes") == 0)
        await eventually(lambda: connections(redis_server, "aionotify-reads") == 0)


async def test_a_refusal_of_redis_is_told_apart_from_an_outage(own_redis: RedisServer) -> None:
    """Out of memory, read-only, not allowed, cannot save: it answered, and nothing is stored."""
    async with endpoint(own_redis.url) as made:
        own_redis.cli("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerRefused, match="maxmemory"):
            await say(made, "SET", "key", "value")
        own_redis.cli("CONFIG", "SET", "maxmemory", "0")

        own_redis.cli("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(BrokerRefused, match="read only replica"):
            await say(made, "SET", "key", "value")
        own_redis.cli("REPLICAOF", "NO", "ONE")

        own_redis.cli("ACL", "SETUSER", "default", "-publish")
        with pytest.raises(BrokerRefused, match="no permissions"):
            await say(made, "PUBLISH", "channel", "message")

        await _fails_to_save(own_redis)
        with pytest.raises(BrokerRefused, match="MISCONF"):
            await say(made, "SET", "key", "value")
        own_redis.kill()  # it would not stop in order without having saved


async def _fails_to_save(server: RedisServer) -> None:
    """Take its directory away, which stands for a disk that fails."""
    server.cli("CONFIG", "SET", "save", "3600 1")
    server.log.unlink()
    server.directory.rmdir()
    server.cli("BGSAVE")
    await eventually(lambda: server.cli("INFO")["rdb_last_bgsave_status"] == "err")


async def test_a_quote_of_a_command_is_left_out(redis_server: RedisServer) -> None:
    """Redis repeats the arguments of a command it does not know; they may be an event."""
    async with endpoint(redis_server.url) as made:
        with pytest.raises(BrokerRefused, match="unknown command 'NOSUCH'") as caught:
            await say(made, "NOSUCH", "payload")
        assert "payload" not in str(caught.value)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (redis_errors.ConnectionError("x"), BrokerUnavailable),
        (redis_errors.TimeoutError("x"), BrokerUnavailable),
        (redis_errors.BusyLoadingError("x"), BrokerUnavailable),
        (redis_errors.MasterDownError("x"), BrokerUnavailable),
        (redis_errors.TryAgainError("x"), BrokerUnavailable),
        (redis_errors.InvalidResponse("x"), BrokerUnavailable),
        (ConnectionResetError(), BrokerUnavailable),
        (TimeoutError(), BrokerUnavailable),
        (redis_errors.AuthenticationError("x"), BrokerRefused),
        (redis_errors.ReadOnlyError("x"), BrokerRefused),
        (redis_errors.OutOfMemoryError("x"), BrokerRefused),
        (redis_errors.NoPermissionError("x"), BrokerRefused),
        (redis_errors.ResponseError("MISCONF x"), BrokerRefused),
    ],
)
def test_every_error_is_an_outage_or_a_refusal(
    raised: Exception, expected: type[BrokerError]
) -> None:
    """Of one of the two kinds, with a text, and with its cause when it leaves `translated`."""
    assert type(translate(raised)) is expected
    assert str(translate(raised)).rpartition(": ")[2]
    with pytest.raises(expected) as caught, translated():
        raise raised
    assert caught.value.__cause__ is raised


async def test_a_name_that_redis_does_not_permit_is_done_without(own_redis: RedisServer) -> None:
    """It is a courtesy; the login is none."""
    rules = ("on", ">pw", "allkeys", "allchannels", "+@all", "-client", "-role", "-info")
    own_redis.cli("ACL", "SETUSER", "me", *rules)
    async with endpoint(f"redis://me:pw@127.0.0.1:{own_redis.port}") as made:
        await published(made, "channel")


async def test_a_database_that_is_not_there_is_told_as_such(own_redis: RedisServer) -> None:
    """And so is one that our user may not select."""
    own_redis.cli("ACL", "SETUSER", "me", "on", ">pw", "allkeys", "allchannels", "+@all", "-select")
    for url, reason in {
        f"redis://127.0.0.1:{own_redis.port}/999": "SELECT 999: ERR DB index is out of range",
        f"redis://me:pw@127.0.0.1:{own_redis.port}/1": "NOPERM .* 'select' command",
    }.items():
        async with endpoint(url) as made:
            for attempt in (made.subscriber, partial(made.commands("reads").execute, [("PING",)])):
                with pytest.raises(BrokerRefused, match=f"^Redis refused: {reason}"):
                    await attempt()


# Another password


async def connected(made: Endpoint) -> None:
    """Have it connect in all ways there are, but for subscribers."""
    for kind in ("reads", "writes"):
        await made.commands(kind).execute([("PING",)])


def ids(server: RedisServer) -> set[str]:
    return {each["id"] for each in server.cli("CLIENT LIST") if each["name"].startswith("aio")}


async def test_connections_are_made_anew_with_another_login(own_redis: RedisServer) -> None:
    """All of them, and then none of the old ones is left."""
    own_redis.cli("ACL", "SETUSER", "me", "on", ">old", "allkeys", "allchannels", "+@all")
    address = f"127.0.0.1:{own_redis.port}"
    async with endpoint(f"redis://me:old@{address}") as made:
        await connected(made)
        before = ids(own_redis)
        other = Endpoint(RedisConfig(url=f"redis://me:new@{address}"))
        assert made.adopt(other)
        assert not made.adopt(other)
        with pytest.raises(BrokerRefused, match=r"refused the login: WRONGPASS"):
            await made.renew()
        await connected(made)
        assert ids(own_redis) == before
        own_redis.cli("ACL", "SETUSER", "me", "resetpass", ">new")
        await made.renew()
        await connected(made)
        await (await made.subscriber()).disconnect()
        await eventually(lambda: not ids(own_redis) & before)


async def test_what_is_under_way_is_answered_on_the_old_connection(own_redis: RedisServer) -> None:
    """And nothing else waits for that."""
    address = f"127.0.0.1:{own_redis.port}"
    async with endpoint(f"redis://{address}") as made:
        await connected(made)
        before = ids(own_redis)
        waiting = asyncio.ensure_future(made.commands("reads").execute([("BLPOP", "list", 0)]))
        await eventually(lambda: own_redis.cli("INFO")["blocked_clients"] == 1)
        own_redis.cli("ACL", "SETUSER", "me", "on", ">new", "allkeys", "allchannels", "+@all")
        assert made.adopt(Endpoint(RedisConfig(url=f"redis://me:new@{address}")))
        renewing = asyncio.create_task(made.renew())
        await eventually(lambda: _by_user(own_redis, "me") == ["aionotify-reads"])
        assert await made.commands("reads").execute([("PING",)]) == [b"PONG"]
        assert own_redis.cli("INFO")["blocked_clients"] == 1
        own_redis.cli("RPUSH", "list", "x")
        assert await waiting == [[b"list", b"x"]]
        await renewing
        await eventually(lambda: not ids(own_redis) & before)


def _by_user(server: RedisServer, user: str) -> list[str]:
    return sorted(each["name"] for each in server.cli("CLIENT LIST") if each["user"] == user)


def test_another_place_is_not_adopted() -> None:
    """Nor is the login for it: that would be shown to the wrong Redis."""
    ours = Endpoint(RedisConfig(url="redis://a"))
    assert not ours.adopt(Endpoint(RedisConfig(url="redis://:secret@b")))
    assert ours._login.get_credentials() == ()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_commands_go_to_the_server_that_is_heard_and_to_no_other(
    redis_server: RedisServer, own_redis: RedisServer
) -> None:
    """Though the address leads to another one when a connection is made anew."""
    async with TcpProxy(redis_server.port) as proxy, endpoint(proxy.url) as made:
        made.heard_from = redis_server.cli("INFO", "server")["run_id"]
        for leads_to in (redis_server, own_redis):
            assert await say(made, "PING") == b"PONG"
            proxy.lead_to(leads_to.port)
            made.commands("writes").drop("it was lost")
        for _ in range(2):
            with pytest.raises(OtherServer):
                await say(made, "SET", "key", "value", "EX", 60)
        assert own_redis.cli("EXISTS", "key") == 0
        made.drop("the subscriber connects anew")
        assert await say(made, "PING") == b"PONG"
