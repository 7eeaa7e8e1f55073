"""Connections to a real Redis, in good times and in bad."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection

from aionotify import tasks
from aionotify.broker.connection import endpoint as endpoint_module
from aionotify.broker.connection.endpoint import Endpoint, translate, translated
from aionotify.broker.connection.resp import read_replies, send
from aionotify.config import RedisConfig
from aionotify.errors import BrokerError, BrokerRefused, BrokerUnavailable
from tests.harness import RedisServer, TcpProxy, eventually, free_port


@contextlib.asynccontextmanager
async def endpoint(url: str) -> AsyncIterator[Endpoint]:
    made = Endpoint(RedisConfig(url=url))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def subscribed(made: Endpoint, channel: str) -> AsyncIterator[AbstractConnection]:
    connection = await made.subscriber()
    try:
        await connection.send_command("SUBSCRIBE", channel)
        assert await connection.read_response() == [b"subscribe", channel.encode(), 1]
        yield connection
    finally:
        await connection.disconnect()


async def published(made: Endpoint, channel: str) -> None:
    """Send bytes that are no text, few and many, and have them heard."""
    heard: list[Any] = []
    connection = await made.subscriber()
    hearing = asyncio.create_task(read_replies(connection, heard.append))
    try:
        await asyncio.sleep(0)
        await send(connection, "SUBSCRIBE", channel)
        await eventually(lambda: heard == [[b"subscribe", channel.encode(), 1]])
        messages = [b"\xff\x00", *[b"\r\n" * 100_000] * 10]
        echo = [("ECHO", message) for message in messages]
        assert await made.commands("reads").execute(echo) == messages
        for message in messages:
            assert await made.client().publish(channel, message) == 1
        await eventually(lambda: len(heard) == 1 + len(messages))
        assert heard[1:] == [[b"message", channel.encode(), message] for message in messages]
        if writer := connection._writer:
            writer.transport.abort()
        with pytest.raises(redis_errors.ConnectionError):
            await hearing
    finally:
        await tasks.cancelled([hearing])
        await connection.disconnect()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give up much sooner than one should, for the tests' sake; returns the seconds."""
    monkeypatch.setattr(endpoint_module, "TIMEOUT", 0.4)
    return 0.4


async def test_it_talks_to_redis_over_tcp(redis_server: RedisServer) -> None:
    """Commands and subscriptions, in bytes."""
    async with endpoint(redis_server.url) as made:
        assert made.description == redis_server.url
        await published(made, "channel")


async def test_it_talks_to_redis_over_a_unix_socket(tmp_path: Path) -> None:
    """The same through a socket file."""
    path = tmp_path / "redis.sock"
    with RedisServer(tmp_path, options={"unixsocket": str(path)}) as server:
        async with endpoint(f"unix://{path}?db=2") as made:
            await published(made, "channel")
            await made.client().set("key", "value")
        assert server.cli("INFO", "keyspace")["db2"]["keys"] == 1


async def test_it_talks_to_a_redis_of_its_own() -> None:
    """With embedded:// there is a server between start() and close()."""
    async with endpoint("embedded://") as made:
        assert made.description == "embedded://"
        await published(made, "channel")


async def test_it_logs_in_and_selects_the_database(own_redis: RedisServer) -> None:
    """User, password and database of the address are used, by both kinds of connections."""
    own_redis.cli("ACL", "SETUSER", "me", "on", ">p@ss/", "allkeys", "allchannels", "+@all")
    async with endpoint(f"redis://me:p%40ss%2F@127.0.0.1:{own_redis.port}/3") as made:
        await made.client().set("key", "value")
        async with subscribed(made, "channel"):
            clients = own_redis.cli("CLIENT LIST")
    assert own_redis.cli("INFO", "keyspace")["db3"]["keys"] == 1
    ours = {client["name"]: client for client in clients if client["user"] == "me"}
    assert {name: client["resp"] for name, client in ours.items()} == {
        "aionotify": "2",
        "aionotify-subscriber": "2",
    }


async def test_a_wrong_password_is_a_refusal(own_redis: RedisServer) -> None:
    """It is no outage, and it is not quoted."""
    own_redis.cli("CONFIG", "SET", "requirepass", "right")
    for userinfo in ("", ":wrong-one@"):
        async with endpoint(f"redis://{userinfo}127.0.0.1:{own_redis.port}") as made:
            with pytest.raises(BrokerRefused) as caught, translated():
                await made.client().ping()
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
            clients = await made.client().client_list()
            assert [client["name"] for client in clients] == ["aionotify"]


async def test_commands_share_a_bounded_pool_and_wait_their_turn(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More callers than connections all get their answer."""
    monkeypatch.setattr(endpoint_module, "POOL", 3)
    async with endpoint(redis_server.url) as made:
        answers = await asyncio.gather(*(made.client().echo(str(n)) for n in range(100)))
        assert answers == [b"%d" % n for n in range(100)]
        assert _connections(redis_server, "aionotify") == 3
    await eventually(lambda: _connections(redis_server, "aionotify") == 0)


async def test_waiting_for_a_connection_has_an_end(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, impatient: float
) -> None:
    """When all connections stay in use, the next command fails instead of hanging."""
    monkeypatch.setattr(endpoint_module, "POOL", 1)
    async with endpoint(redis_server.url) as made:
        pool = made.client().connection_pool
        taken = await pool.get_connection()  # type: ignore[no-untyped-call]
        with pytest.raises(BrokerUnavailable, match="No connection available"), translated():
            async with asyncio.timeout(impatient * 10):
                await made.client().ping()
        await pool.release(taken)
        assert await made.client().ping()


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
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"), translated():
            await made.client().ping()
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}"):
            await made.subscriber()


async def test_a_frozen_redis_is_an_outage_and_nobody_waits_for_long(
    own_redis: RedisServer, impatient: float
) -> None:
    """It accepts connections and never answers: new ones, and those of the pool, give up."""
    async with endpoint(own_redis.url) as made:
        await made.client().ping()
        own_redis.pause()
        async with asyncio.timeout(impatient * 10):
            for _ in range(2):  # with a connection of before, and with a new one
                with pytest.raises(BrokerUnavailable), translated():
                    await made.client().ping()
            with pytest.raises(BrokerUnavailable, match="TimeoutError"):
                await made.subscriber()
        own_redis.resume()
        assert await made.client().ping()


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
        await eventually(lambda: _connections(own_redis, "") == 1)
        await made.client().ping()


def _connections(server: RedisServer, name: str) -> int:
    return sum(client["name"] == name for client in server.cli("CLIENT LIST"))


async def test_the_first_command_after_a_restart_works(own_redis: RedisServer) -> None:
    """Connections that Redis has closed are made anew, unnoticed."""
    async with endpoint(own_redis.url) as made:
        await asyncio.gather(*(made.client().ping() for _ in range(5)))
        # In a thread: our side of the connections has to hear that they are closed.
        await asyncio.to_thread(own_redis.restart)
        assert all(await asyncio.gather(*(made.client().ping() for _ in range(5))))


async def test_closing_closes_every_connection_and_can_be_repeated(
    redis_server: RedisServer,
) -> None:
    """After close() Redis has no connection of ours; a second close() does no harm."""
    async with endpoint(redis_server.url) as made:
        await made.client().ping()
        await made.commands("reads").execute([("PING",)])
        await made.close()
        await eventually(lambda: _connections(redis_server, "aionotify") == 0)
        await eventually(lambda: _connections(redis_server, "aionotify-reads") == 0)


async def test_what_redis_refuses_is_told_apart_from_an_outage(own_redis: RedisServer) -> None:
    """Out of memory, read-only, not allowed, cannot save: it answered, and nothing is stored."""
    async with endpoint(own_redis.url) as made:
        client = made.client()

        own_redis.cli("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerRefused, match="maxmemory"), translated():
            await client.set("key", "value")
        own_redis.cli("CONFIG", "SET", "maxmemory", "0")

        own_redis.cli("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(BrokerRefused, match="read only replica"), translated():
            await client.set("key", "value")
        own_redis.cli("REPLICAOF", "NO", "ONE")

        own_redis.cli("ACL", "SETUSER", "default", "-publish")
        with pytest.raises(BrokerRefused, match="no permissions"), translated():
            await client.publish("channel", "message")

        await _fails_to_save(own_redis)
        with pytest.raises(BrokerRefused, match="MISCONF"), translated():
            await client.set("key", "value")
        own_redis.kill()  # it would not stop in order without having saved


async def _fails_to_save(server: RedisServer) -> None:
    """Take its directory away, which stands for a disk that fails."""
    server.cli("CONFIG", "SET", "save", "3600 1")
    server.log.unlink()
    server.directory.rmdir()
    server.cli("BGSAVE")
    await eventually(lambda: server.cli("INFO")["rdb_last_bgsave_status"] == "err")


async def test_what_redis_quotes_of_a_command_is_left_out(redis_server: RedisServer) -> None:
    """Redis repeats the arguments of a command it does not know; they may be an event."""
    async with endpoint(redis_server.url) as made:
        with pytest.raises(BrokerRefused, match="unknown command 'NOSUCH'") as caught, translated():
            await made.client().execute_command(  # type: ignore[no-untyped-call]
                "NOSUCH", "payload"
            )
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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate for 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "redis.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def test_tls_is_used_and_the_server_has_to_prove_itself(
    redis_server: RedisServer, certificate: Path
) -> None:
    """With its certificate trusted it works; without, or under another name, it does not."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with TcpProxy(redis_server.port, tls=context) as proxy:
        trusted = f"{proxy.port}?ssl_ca_certs={certificate}"
        async with endpoint(f"rediss://127.0.0.1:{trusted}") as made:
            await published(made, "channel")
        async with endpoint(f"rediss://localhost:{trusted}&ssl_check_hostname=false") as made:
            await published(made, "channel")
        for url in (f"rediss://127.0.0.1:{proxy.port}", f"rediss://localhost:{trusted}"):
            async with endpoint(url) as made:
                with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                    await made.subscriber()


@pytest.mark.asyncio(loop_factories=["asyncio"])  # it takes seconds
async def test_sentinels_lead_to_the_master_and_to_the_next_one(tmp_path: Path) -> None:
    """Commands and subscribers follow a failover; a sentinel that is down is passed over."""
    directories = [tmp_path / name for name in ("first", "second", "sentinel")]
    for directory in directories:
        directory.mkdir()
    at_once = {"repl-diskless-sync-delay": "0"}
    with (
        RedisServer(directories[0], options=at_once) as first,
        RedisServer(directories[1]) as second,
    ):
        second.cli("REPLICAOF", "127.0.0.1", first.port)
        await eventually(lambda: second.cli("ROLE")[3] == "connected")
        with first.sentinel(directories[2], "main") as sentinel:
            hosts = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
            async with endpoint(f"redis+sentinel://{hosts}/main/0") as made:
                await published(made, "channel")
                assert _connections(first, "aionotify") == 1

                await eventually(lambda: sentinel.cli("SENTINEL REPLICAS", "main"))
                first.kill()
                named = ("127.0.0.1", second.port)
                await eventually(
                    lambda: sentinel.cli("SENTINEL GET-MASTER-ADDR-BY-NAME", "main") == named
                )
                await published(made, "channel")
                assert _connections(second, "aionotify") == 1

            async with endpoint(f"redis+sentinel://{hosts}/unheard") as made:
                with pytest.raises(BrokerUnavailable, match="no sentinel knows a master"):
                    await made.subscriber()


async def test_a_node_that_is_not_the_master_is_not_taken_for_one(tmp_path: Path) -> None:
    """A sentinel may be behind, so the node has to confirm; a demoted one is given up."""
    (tmp_path / "sentinel").mkdir()
    with (
        RedisServer(tmp_path) as server,
        server.sentinel(tmp_path / "sentinel", "main") as sentinel,
    ):
        async with endpoint(f"redis+sentinel://127.0.0.1:{sentinel.port}/main") as made:
            assert await made.client().ping()
            server.cli("REPLICAOF", "127.0.0.1", free_port())
            with pytest.raises(BrokerRefused, match="read only replica"), translated():
                await made.client().set("key", "value")
            await eventually(lambda: _connections(server, "aionotify") == 0)
            with pytest.raises(BrokerUnavailable, match="is not the master"):
                await made.subscriber()
            server.cli("REPLICAOF", "NO", "ONE")
            assert await made.commands("reads").execute([("PING",)]) == [b"PONG"]
            server.cli("REPLICAOF", "127.0.0.1", free_port())
            [refused] = await made.commands("reads").execute([("SET", "key", "value")])
            assert isinstance(refused, redis_errors.ReadOnlyError)
            await eventually(lambda: _connections(server, "aionotify-reads") == 0)
            with pytest.raises(BrokerUnavailable, match="is not the master"):
                await made.commands("reads").execute([("PING",)])
