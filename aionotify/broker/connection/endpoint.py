"""Connections to Redis: one pool for all commands, and one of its own for each subscriber.

Knows where Redis is and how it is talked to: RESP2, bytes, bounded waits, and no retries, for
whoever asked knows better whether to ask again. Knows nothing of what is said.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aionotify import tasks
from aionotify.broker.connection.pipeline import Pipeline
from aionotify.broker.connection.redis_connections import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from aionotify.broker.connection.sentinel import MasterConnection, Sentinels
from aionotify.broker.connection.url import parse
from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.config import RedisConfig
from aionotify.errors import BrokerError, BrokerRefused, BrokerUnavailable

TIMEOUT: Final = 2.0  # seconds for each of: a free connection, connecting, writing, an answer
POOL: Final = 32  # connections; Redis runs one command at a time, so more would only queue there
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


class Endpoint:
    """The Redis that `redis.url` names, from `start` to `close`. Nothing connects before asked to.

    Attributes:
        keeps: whether it is a private server that outlives itself, by its append-only file.

    Raises ConfigError for an address that cannot be used.
    """

    def __init__(self, config: RedisConfig) -> None:
        self._address = address = parse(config.url)
        self._embedded = EmbeddedServer(config.data_dir) if address.scheme == "embedded" else None
        self._sentinels = (
            Sentinels(
                address.hosts,
                address.service,
                username=address.options.get("sentinel_username"),
                password=address.options.get("sentinel_password"),
            )
            if address.service
            else None
        )
        self.keeps = self._embedded is not None and config.data_dir is not None
        self._client: Redis | None = None
        self._commands: dict[str, Pipeline] = {}

    @property
    def description(self) -> str:
        """Where Redis is, for people and logs: no user, no password."""
        return str(self._address)

    async def start(self) -> None:
        """Start the private server, if that is what the address names.

        Raises ConfigError and BrokerUnavailable, as `EmbeddedServer.start` does.
        """
        if self._embedded is not None:
            await self._embedded.start()

    async def close(self) -> None:
        """Close the pool and stop the private server. Does nothing twice."""
        commands, self._commands = self._commands, {}
        for each in commands.values():
            await each.close()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        if self._embedded is not None:
            await self._embedded.stop()

    def client(self) -> Redis:
        """Return the client that all commands share; it raises redis-py's errors: `translated`.

        A command waits for a free connection of the pool, connects anew if that one was lost, and
        is given up when Redis is silent.
        """
        if self._client is None:
            connection_class, options = self._connection("aionotify")
            pool = BlockingConnectionPool(
                max_connections=POOL,
                timeout=TIMEOUT,
                connection_class=connection_class,
                socket_timeout=TIMEOUT,
                **options,
            )
            self._client = Redis.from_pool(pool)
        return self._client

    def commands(self, kind: str) -> Pipeline:
        """Return the connection that all commands of a kind share.

        Its `execute` raises BrokerUnavailable and BrokerRefused as well, when there is none.
        """
        if kind not in self._commands:
            connect = partial(self._connected, f"aionotify-{kind}")
            self._commands[kind] = Pipeline(connect, TIMEOUT)
        return self._commands[kind]

    async def subscriber(self) -> AbstractConnection:
        """Return a new connection, outside of the pool; it is the caller's to disconnect.

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
        common: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "db": address.db,
            "client_name": name,
            "protocol": 2,
            "socket_connect_timeout": TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,  # saves two commands at each connect
        }
        if self._embedded is not None:
            return UnixDomainSocketConnection, common | {"path": str(self._embedded.socket)}
        if address.path:
            return UnixDomainSocketConnection, common | {"path": address.path}

        common["socket_keepalive_options"] = KEEPALIVE
        if self._sentinels is not None:
            return MasterConnection, common | {"sentinels": self._sentinels}

        host, port = address.hosts[0]
        common |= {"host": host, "port": port}
        if address.scheme == "rediss":
            tls: dict[str, Any] = dict(address.options)
            tls["ssl_check_hostname"] = tls.get("ssl_check_hostname") != "false"
            return SSLConnection, common | tls
        return Connection, common


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
        reason, _, _ = str(exc).partition(", with args")
        return BrokerRefused(f"Redis refused: {reason}")
    return BrokerUnavailable(f"Redis is not available: {str(exc) or type(exc).__name__}")


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
