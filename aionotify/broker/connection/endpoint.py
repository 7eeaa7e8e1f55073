"""Connections to Redis: one for each kind of commands, and one of its own for each subscriber.

Knows where Redis is and how it is talked to: RESP2, bytes, bounded waits, and no retries, for
whoever asked knows better whether to ask again. Knows nothing of what is said.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aionotify import tasks
from aionotify.broker.connection.pipeline import Command, Execute, Pipeline
from aionotify.broker.connection.redis_connections import (
    Login,
    TCPConnection,
    UnixConnection,
    quoted,
)
from aionotify.broker.connection.sentinel import (
    MasterConnection,
    Place,
    SentinelError,
    Sentinels,
    shown,
)
from aionotify.broker.connection.tls import TLSContext
from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.config import RedisConfig
from aionotify.config.redis_url import parse
from aionotify.errors import BrokerError, BrokerRefused, BrokerUnavailable, ConfigError

TIMEOUT: Final = 2.0  # seconds for each of: connecting, an answer
KEEPALIVE: Final = {
    getattr(socket, name): value
    for name, value in {
        "TCP_KEEPIDLE": 5,  # seconds; Linux
        "TCP_KEEPALIVE": 5,  # seconds; the same on macOS
        "TCP_KEEPINTVL": 2,  # seconds
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 5000,  # ms that what we sent may stay unacknowledged (RFC 5482)
    }.items()
    if hasattr(socket, name)
}


class OtherServer(BrokerUnavailable):
    """A connection that was made anew is to another server than the one that is heard."""


class Endpoint:
    """The Redis that `redis.url` names, from `start` to `close`. Nothing connects before asked to.

    Attributes:
        keeps: whether it is a private server that outlives itself, by its append-only file.
        wait_replicas: how many replicas must have an event before it counts as published.
        heard_from: which server (its run id) is heard, so that commands go to that one and to no
            other; '' where nothing is heard, or one may not ask.

    Raises ConfigError for an address that cannot be used.
    """

    def __init__(self, config: RedisConfig) -> None:
        try:
            self._address = address = parse(config.url)
        except ValueError as error:
            raise ConfigError({"redis.url": str(error)}) from None
        options = address.options
        self._embedded = EmbeddedServer(config.data_dir) if address.scheme == "embedded" else None
        # Connections look at these when they are made, so what changes is in force with the next.
        self._login = Login(address.username, address.password)
        self._sentinel_login = Login(
            options.get("sentinel_username"), options.get("sentinel_password")
        )
        self._tls = TLSContext(options) if address.tls else None
        self._sentinels = (
            Sentinels(address.hosts, address.service, self._to_sentinel)
            if address.service
            else None
        )
        self.wait_replicas = config.wait_replicas
        self.keeps = self._embedded is not None and config.data_dir is not None
        self.heard_from = ""
        self._commands: dict[str, Pipeline] = {}

    @property
    def description(self) -> str:
        """Where Redis is, for people and logs: no user, no password."""
        return str(self._address)

    @property
    def database(self) -> int:
        """The number of the database that is selected on each connection."""
        return self._address.db

    @property
    def objections(self) -> tuple[SentinelError, ...]:
        """What was wrong with sentinels when they were asked last, though a master was found."""
        return () if self._sentinels is None else self._sentinels.objections

    async def start(self) -> None:
        """Start the private server, if that is what the address names.

        Raises ConfigError and BrokerUnavailable, as `EmbeddedServer.start` does.
        """
        if self._embedded is not None:
            await self._embedded.start()

    async def close(self) -> None:
        """Close the connections and stop the private server. Does nothing twice."""
        commands, self._commands = self._commands, {}
        for each in commands.values():
            await each.close()
        if self._sentinels is not None:
            await self._sentinels.close()
        if self._embedded is not None:
            await self._embedded.stop()

    def adopt(self, other: "Endpoint") -> bool:
        """Get in as `other` does, if it leads to the same place: login, sentinels' login, TLS.

        Connections that are made from now on do so; for those that there are, see `renew`.
        Returns whether anything has changed.
        """
        if self._address.place != other._address.place:
            return False  # takes a restart
        self._address = other._address
        changed = [
            self._login.adopt(other._login),
            self._sentinel_login.adopt(other._sentinel_login),
            self._tls is not None and other._tls is not None and self._tls.adopt(other._tls),
        ]
        return any(changed)

    async def renew(self) -> None:
        """Make the connections anew that are kept, one after the other.

        What is under way is still answered on the old ones.

        Raises BrokerUnavailable and BrokerRefused: there was none to be had. From that one on the
        old ones stay in use.
        """
        sentinels = self._sentinels.pipelines if self._sentinels is not None else {}
        with translated():
            for pipeline in (*sentinels.values(), *self._commands.values()):
                await pipeline.renew()

    async def _of_one_generation(self, name: str) -> AbstractConnection:
        """Return a new connection, if it is to the server that is heard."""
        connection = await self._connected(name)
        try:
            if self.heard_from and await self.run_id_of(connection) not in ("", self.heard_from):
                raise OtherServer("another server answers than the one that is heard")
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def drop(self, reason: str) -> None:
        """Give up all connections that are kept: they may be to another Redis than it is now.

        What is under way on them fails.
        """
        self.heard_from = ""
        for pipeline in self._commands.values():
            pipeline.drop(reason)

    async def elsewhere(self, connection: AbstractConnection) -> str | None:
        """Return which other master the sentinels name than that of a connection, None if none.

        Raises BrokerUnavailable: they name none at all.
        """
        named = await self.named_master()
        if named is None or named == (connection.host, connection.port):  # type: ignore[attr-defined]
            return None
        return f"the master is {shown(named)} now"

    async def replaced(self, kind: str) -> str | None:
        """Return which other master the sentinels name than that of `commands(kind)`.

        None: it is the one, or there is nobody who would know.
        """
        connection = self.commands(kind).connection
        if self._sentinels is None or connection is None:
            return None
        try:
            return await self.elsewhere(connection)
        except BrokerUnavailable:
            return None

    async def _why_not_master(self, connection: AbstractConnection, ask: Execute) -> str | None:
        """Say why a connection is not to the master (any more) that a new one would be to."""
        fresh = None
        try:
            if (other := await self.elsewhere(connection)) is not None:
                return other
            role, server = await ask([("ROLE",), ("INFO", "server")])
            if not isinstance(role, Exception) and role[0] != b"master":
                return "it is not the master any more"
            if self._sentinels is None and not isinstance(server, Exception):
                fresh = await self._connected("aionotify-verify")
                if info(server).get("run_id", "") != await self.run_id_of(fresh):
                    return "another server has taken its place"
        except (*LOST, BrokerError) as error:
            return f"nobody says whether it still is the master: {error}"
        finally:
            if fresh is not None:
                await fresh.disconnect(nowait=True)
        return None

    async def run_id_of(self, connection: AbstractConnection) -> str:
        """Return which server a connection is to on which nothing was read so far; '' if one may
        not ask.
        """
        return (await self._info(connection, "server")).get("run_id", "")

    async def cut_offs_of(self, connection: AbstractConnection) -> int:
        """Return how many clients that were too far behind the server of such a connection has cut
        off since it started; 0 if one may not ask, or it does not count them (before Redis 7).
        """
        found = await self._info(connection, "stats")
        return int(found.get("client_output_buffer_limit_disconnections", 0))

    async def _info(self, connection: AbstractConnection, section: str) -> dict[str, str]:
        with translated():
            async with tasks.timeout(TIMEOUT):
                await connection.send_command("INFO", section)
                try:
                    return info(await connection.read_response())
                except redis_errors.ResponseError:
                    return {}

    async def named_master(self) -> Place | None:
        """Return host and port of the master as the sentinels name it now; None without Sentinel.

        It costs two commands to each sentinel, on connections that are kept.

        Raises BrokerUnavailable: none of them names one.
        """
        if self._sentinels is None:
            return None
        with translated():
            return (await self._sentinels.masters())[0].place

    def commands(self, kind: str) -> Pipeline:
        """Return the connection that all commands of a kind share.

        Its `execute` raises BrokerUnavailable and BrokerRefused as well, when there is none.
        """
        if kind not in self._commands:
            connect = partial(self._of_one_generation, f"aionotify-{kind}")
            self._commands[kind] = Pipeline(connect, TIMEOUT, self._why_not_master)
        return self._commands[kind]

    @property
    def publishing(self) -> Pipeline:
        """The connection that durable events are written on.

        If they wait for replicas it is one of its own, for all that comes after them waits as well.
        """
        return self.commands("publishing" if self.wait_replicas else "writes")

    async def subscriber(self) -> AbstractConnection:
        """Return a new connection; it is the caller's to disconnect.

        Its reads wait for ever. Once lost it must be thrown away: to send on it would connect it
        again, without its subscriptions and without a word.

        Raises BrokerUnavailable and BrokerRefused.
        """
        return await self._connected("aionotify-subscriber")

    async def _connected(self, name: str) -> AbstractConnection:
        connection_class, options = self._connection(name)
        connection = connection_class(socket_timeout=None, **options)
        with translated():
            # Over all of it: a stopped Redis accepts connections, and then never answers.
            async with tasks.timeout(TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    def _connection(self, name: str) -> tuple[type[AbstractConnection], dict[str, Any]]:
        """Return the class of connections to this Redis and what to make one with."""
        address = self._address
        common = self._common(name, self._login) | {"database": address.db}
        if self._embedded is not None:
            return UnixConnection, common | {"path": str(self._embedded.socket)}
        if address.path:
            return UnixConnection, common | {"path": address.path}

        common |= {"socket_keepalive_options": KEEPALIVE, "tls": self._tls}
        if self._sentinels is not None:
            return MasterConnection, common | {"sentinels": self._sentinels}
        host, port = address.hosts[0]
        return TCPConnection, common | {"host": host, "port": port}

    def _to_sentinel(self, place: Place) -> AbstractConnection:
        host, port = place
        common = self._common("aionotify-sentinel", self._sentinel_login)
        return TCPConnection(
            host=host,
            port=port,
            tls=self._tls,
            socket_timeout=None,
            socket_keepalive_options=KEEPALIVE,
            **common,
        )

    def _common(self, name: str, login: Login) -> dict[str, Any]:
        return {
            "name": name,
            "credential_provider": login,
            "protocol": 2,
            "socket_connect_timeout": TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,  # saves two commands at each connect
        }


def info(reply: bytes) -> dict[str, str]:
    """Return what a reply to INFO says, by its names."""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", reply.decode(errors="replace"), re.MULTILINE))


async def replies(execute: Execute, *commands: Command) -> list[Any]:
    """Return the replies to commands.

    Raises BrokerUnavailable; BrokerRefused when Redis refuses one of them.
    """
    with translated():
        found = await execute(commands)
        for each in found:
            if isinstance(each, Exception):
                raise each
    return found


# RuntimeError is what uvloop has to say to a write on a connection that was lost just now.
LOST: Final = (redis_errors.RedisError, OSError, RuntimeError)
"""What an exchange with Redis fails with; `translate` makes an error of ours of it."""


def translate(exc: Exception) -> BrokerError:
    """Return the error of ours for one that redis-py, the network or the event loop raised.

    BrokerUnavailable when Redis did not answer; BrokerRefused when it did, and would not. The
    text is safe to log: Redis quotes the arguments of a command that it does not know.
    """
    if isinstance(exc.__cause__, redis_errors.RedisError):
        exc = exc.__cause__  # on a unix socket, redis-py calls a refused login a lost connection
    if isinstance(exc, _REFUSALS) and not isinstance(exc, _OUTAGES):
        login = isinstance(exc, redis_errors.AuthenticationError)
        return BrokerRefused(f"Redis refused{' the login' if login else ''}: {quoted(exc)}")
    return BrokerUnavailable(f"Redis is not available: {quoted(exc)}")


_REFUSALS = (
    redis_errors.ResponseError,
    redis_errors.AuthenticationError,  # to redis-py these two are lost connections
    redis_errors.AuthorizationError,
)
_OUTAGES = (
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Have redis-py's errors and the network's leave the block as ours, see `translate`."""
    try:
        yield
    except LOST as exc:
        raise translate(exc) from exc
