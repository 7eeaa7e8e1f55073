"""Whether Redis is there and does what is needed of it, for ``aionotify check``.

Says the cause in Redis' own words, and one thing to do.
"""

import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)

from aionotify.broker.connection.endpoint import Endpoint, translate, translated
from aionotify.broker.connection.redis_connections import NoSuchDatabase, quoted
from aionotify.broker.connection.sentinel import NoMasterNamed, Objection
from aionotify.cli.finding import Finding
from aionotify.config import RedisConfig
from aionotify.errors import AionotifyError, BrokerUnavailable

_OLDEST: Final = (6, 2)  # Redis; Valkey's versions begin with 7.2
_TIMEOUT: Final = 3.0  # seconds for the probe message to come back
_SLOTS: Final = 16  # keys; that all are in one of two shards is one chance in 65,536


async def check_redis(config: RedisConfig) -> AsyncIterator[Finding]:
    """Yield what is found, in a fixed order, up to what makes the rest pointless."""
    try:
        endpoint = Endpoint(config)
        await endpoint.start()
    except AionotifyError as error:
        yield Finding("redis", "failed", str(error), "correct redis.url")
        return
    try:
        with translated():
            client, started = endpoint.client(), time.perf_counter()
            await client.eval("return 1", 0)
            took = 1000 * (time.perf_counter() - started)
            yield Finding("redis", "ok", f"{endpoint.description} answers in {took:.1f} ms")
            for objection in endpoint.objections:
                advice = _SENTINEL_ADVICE[objection.objection]
                yield Finding("redis sentinel", "warning", str(objection), advice)
            async for each in _server(client):
                yield each
            yield await _keys(client, config.prefix)
            yield await _round_trip(client, config)
    except AionotifyError as error:
        yield Finding("redis", "failed", f"{endpoint.description}: {error}", _advice(error))
    finally:
        await endpoint.close()


_SENTINEL_ADVICE: Final[Mapping[Objection, str]] = {
    Objection.ABSENT: "start it, or correct its host and port in redis.url",
    Objection.LOGIN_MISSING: "add ?sentinel_password= to redis.url",
    Objection.LOGIN_REFUSED: "correct sentinel_username and sentinel_password in redis.url",
    Objection.NO_SENTINEL: "set redis.url to the sentinels, or use redis:// for a Redis itself",
    Objection.OTHER_NAME: "correct the service in redis.url; SENTINEL MASTERS lists them",
    Objection.NO_RIGHTS: "give the user the right +sentinel|master at the sentinels",
    Objection.BEHIND: "wait if a failover is under way, otherwise repair or remove this sentinel",
}


def _advice(error: Exception) -> str:
    """Say what to do about the cause of an error."""
    for cause in _causes(error):
        match cause:
            case NoMasterNamed(errors=errors):
                said = [each.objection for each in errors]
                answered = [each for each in said if each is not Objection.ABSENT]
                return _SENTINEL_ADVICE[(answered or said)[0]]
            case ssl.SSLError():
                return "correct ssl_ca_certs or the host in redis.url, or the certificate of Redis"
            case NoSuchDatabase():
                return "correct the database number at the end of redis.url; 0 is always there"
            case AuthenticationError():
                return "correct the user and password in redis.url"
            case NoPermissionError():
                return "give the user in redis.url the rights (ACL) that docs/security.rst lists"
            case ReadOnlyError():
                return "set redis.url to the primary, or to the sentinels that know it"
    if isinstance(error, BrokerUnavailable):
        return "start it, or correct redis.url; a firewall may block the connection"
    return "change Redis' configuration accordingly"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _keys(client: Redis, prefix: str) -> Finding:
    """Write to keys that are not there, in many slots: a cluster's node refuses those of others."""
    async with client.pipeline(transaction=False) as pipeline:
        for number in range(_SLOTS):
            key = f"{prefix}:check:{number}"
            pipeline.eval("return redis.call('EXPIRE', KEYS[1], 1)", 1, key)
        replies = await pipeline.execute(raise_on_error=False)
    others = {(each.host, each.port) for each in replies if isinstance(each, MovedError)}
    refused = [each for each in replies if isinstance(each, Exception)]
    if others:
        return Finding(
            "redis keys",
            "failed",
            f"a cluster of at least {len(others) + 1} shards: {quoted(refused[0])}",
            "set redis.url to a Redis without cluster mode, or to a cluster of one shard",
        )
    if refused:
        error = translate(refused[0])
        error.__cause__ = refused[0]
        return Finding("redis keys", "failed", str(error), _advice(error))
    return Finding("redis keys", "ok", f"{prefix}:* can be written")


async def _server(client: Redis) -> AsyncIterator[Finding]:
    """Check the server by the reply of INFO, if it is allowed."""
    try:
        info: dict[str, Any] = await client.info()
    except ResponseError as error:
        found = f"version, memory and persistence are unknown: {quoted(error)}"
        yield Finding("redis server", "warning", found, "allow INFO (+info) to check them")
        return
    name = info.get("server_name", "redis")
    text = str(info.get(f"{name}_version", info.get("redis_version", "0")))
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    yield Finding(
        "redis version",
        "ok" if version >= _OLDEST else "failed",
        f"{name} {text}",
        "" if version >= _OLDEST else f"upgrade to Redis {_OLDEST[0]}.{_OLDEST[1]} or newer",
    )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    evicts = bool(info.get("maxmemory")) and policy != "noeviction"
    yield Finding(
        "redis memory",
        "warning" if evicts else "ok",
        f"maxmemory-policy {policy}, maxmemory {info.get('maxmemory_human', '0B')}",
        "when memory is full Redis drops events that are not delivered yet;"
        " set maxmemory-policy noeviction"
        if evicts
        else "",
    )
    durable = bool(info.get("aof_enabled"))
    yield Finding(
        "redis persistence",
        "ok" if durable else "warning",
        "append-only file" if durable else "no append-only file",
        "" if durable else "a restart of Redis loses recent events; set appendonly yes",
    )


async def _round_trip(client: Redis, config: RedisConfig) -> Finding:
    """Publish a message and receive it, as every delivery does."""
    channel = f"{config.prefix}:check:{secrets.token_hex(8)}"
    async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel, config.channel)
        started = time.perf_counter()
        await client.publish(channel, b"")
        while (waited := time.perf_counter() - started) < _TIMEOUT:
            message = await pubsub.get_message(timeout=_TIMEOUT - waited)
            if message and message["channel"] == channel.encode():
                took = 1000 * (time.perf_counter() - started)
                return Finding("redis pub/sub", "ok", f"a message comes back in {took:.1f} ms")
    return Finding(
        "redis pub/sub",
        "failed",
        f"no message came back within {_TIMEOUT:g} s",
        "connect to Redis directly; a proxy in between may not support pub/sub",
    )
