"""What tests of connections have in common."""

import asyncio
import contextlib
import datetime
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import exceptions as redis_errors

from aionotify import tasks
from aionotify.broker.connection.endpoint import Endpoint, replies
from aionotify.broker.connection.resp import read_replies, send
from aionotify.config import RedisConfig
from tests.harness import RedisServer, eventually


@contextlib.asynccontextmanager
async def endpoint(url: str) -> AsyncIterator[Endpoint]:
    made = Endpoint(RedisConfig(url=url))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def say(made: Endpoint, *words: str | int) -> Any:
    """Return the reply to a command."""
    [reply] = await replies(made.commands("writes").execute, words)
    return reply


async def published(made: Endpoint, channel: str) -> None:
    """Send bytes that are no text, few and many, and have them heard."""
    heard: list[Any] = []
    connection = await made.subscriber()
    hearing = asyncio.create_task(read_replies(connection, heard.extend))
    try:
        await asyncio.sleep(0)
        await send(connection, "SUBSCRIBE", channel)
        await eventually(lambda: heard == [[b"subscribe", channel.encode(), 1]])
        messages = [b"\xff\x00", *[b"\r\n" * 100_000] * 10]
        echo = [("ECHO", message) for message in messages]
        assert await made.commands("reads").execute(echo) == messages
        for message in messages:
            assert await made.commands("writes").execute([("PUBLISH", channel, message)]) == [1]
        await eventually(lambda: len(heard) == 1 + len(messages))
        assert heard[1:] == [[b"message", channel.encode(), message] for message in messages]
        if writer := connection._writer:
            writer.transport.abort()
        with pytest.raises(redis_errors.ConnectionError):
            await hearing
    finally:
        await tasks.cancelled([hearing])
        await connection.disconnect()


def connections(server: RedisServer, name: str) -> int:
    """How many connections of that name a server has."""
    return sum(client["name"] == name for client in server.cli("CLIENT LIST"))


def write_certificate(file: Path) -> None:
    """Write a key and a self-signed certificate for 127.0.0.1 into one PEM file."""
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
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
