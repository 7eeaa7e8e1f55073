"""The ways in which scripts are carried out, each less patient than usual."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from aionotify.broker.connection.endpoint import translated
from aionotify.broker.connection.pipeline import Execute, Pipeline, by_client

NAME = "test"  # which Redis is told, so that there is something to wait for when one connects
TIMEOUT = 0.3  # seconds of silence after which a call is given up


@contextlib.asynccontextmanager
async def on_one_connection(port: int) -> AsyncIterator[Execute]:
    """As a node and a publisher with an address do it."""

    async def connect() -> AbstractConnection:
        connection = Connection(
            port=port,
            protocol=2,
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            client_name=NAME,
        )
        with translated():
            async with asyncio.timeout(TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    commands = Pipeline(connect, TIMEOUT)
    try:
        yield commands.execute
    finally:
        await commands.close()


@contextlib.asynccontextmanager
async def by_redis_py(port: int) -> AsyncIterator[Execute]:
    """As a publisher does it that was given a client."""
    client = Redis(
        port=port, protocol=2, socket_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0), driver_info=None
    )
    try:
        yield by_client(lambda: client)
    finally:
        await client.aclose()
