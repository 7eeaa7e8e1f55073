"""``aionotify check``: test what the configuration names, and say how to fix problems.

It changes nothing, but publishes one message on its own channel.
"""

import argparse
import asyncio
import base64
import dataclasses
import logging
import os
import resource
import secrets
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)

from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.main_host.client import Accepted, MainHostClient
from aionotify.broker.connection.endpoint import Endpoint, translate, translated
from aionotify.broker.connection.redis_connections import NoSuchDatabase, quoted
from aionotify.broker.connection.sentinel import NoMasterNamed, Objection
from aionotify.config import SETTINGS, AuthConfig, Config, RedisConfig, overlooked
from aionotify.errors import AionotifyError, AuthError, BrokerUnavailable, ConfigError, InvalidToken

_OLDEST = (6, 2)  # Redis; Valkey's versions begin with 7.2
_TIMEOUT = 3.0  # seconds for the probe message to come back
_RESERVE = 100  # open files that are not streams: Redis, the main host, logs
_SLOTS = 16  # keys; that all are in one of two shards is one chance in 65,536
_PROXY = 55.0  # seconds; nginx and most load balancers close a connection after 60 without data


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `advice` says how to fix it if it is not ``ok``."""

    check: str
    status: Literal["ok", "warning", "failed"]
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of output."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(args: argparse.Namespace, config: Config) -> int:
    """Check everything, print the findings, and return 1 if any check failed."""
    logging.getLogger("aionotify").setLevel(logging.CRITICAL)  # the findings say all of it
    findings = asyncio.run(check(config))
    if args.json:
        print(msgspec.json.encode(findings).decode())
    elif sys.stdout.isatty():
        _print_table(findings)
    else:
        for each in findings:
            print(f"{each.status:8} {each.check}: {each.found}")
            if each.advice:
                print(f"{'':8} -> {each.advice}")
    return int(any(each.status == "failed" for each in findings))


async def check(config: Config) -> list[Finding]:
    """Return the findings of every check, in a fixed order."""
    redis, auth = await asyncio.gather(
        _collected(_redis(config.redis)), _collected(_auth(config.auth))
    )
    return [*_settings(config), *_open_files(config), *redis, *auth]


async def _collected(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [each async for each in findings]


def _settings(config: Config) -> Iterator[Finding]:
    yield Finding("configuration", "ok", "every setting is valid")
    for name, meant in overlooked(os.environ, SETTINGS).items():
        yield Finding("environment", "warning", f"{name} is not read", f"rename it to {meant}")
    if config.stream.heartbeat > _PROXY:
        yield Finding(
            "heartbeat",
            "warning",
            f"every {config.stream.heartbeat:g} s",
            "proxies close a connection after 30 to 100 s without data; set stream.heartbeat to 15",
        )
    if config.admin.publish_keys and config.admin.port is None:
        yield Finding(
            "publishing",
            "warning",
            "/publish is on the same address as /notify",
            "set admin.port, or let the proxy in front pass on only /notify",
        )


def _open_files(config: Config) -> Iterator[Finding]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        yield Finding("open files", "ok", "no limit")
        return
    wanted = config.server.max_streams or 10_000
    room = hard - _RESERVE
    yield Finding(
        "open files",
        "ok" if room >= wanted else "failed" if config.server.max_streams else "warning",
        f"{hard} at most, room for {max(room, 0)} streams per process",
        "" if room >= wanted else f"raise it to {wanted + _RESERVE}: LimitNOFILE= or ulimit -n",
    )


async def _redis(config: RedisConfig) -> AsyncIterator[Finding]:
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


async def _auth(config: AuthConfig) -> AsyncIterator[Finding]:
    yield await (_jwt(config) if config.method == "jwt" else _main_host(config))


async def _jwt(config: AuthConfig) -> Finding:
    """Check a made-up token; to refuse it, the authenticator needs the keys."""
    try:
        authenticator = JWTAuthenticator(config.jwt)
    except ConfigError as error:
        problem = "; ".join(f"{path}: {text}" for path, text in error.problems.items())
        return Finding("jwt", "failed", problem, "configure the key of the tokens' issuer")
    header = {"alg": config.jwt.algorithms[0], "kid": secrets.token_hex(8)}
    try:
        await authenticator.identify(".".join([_base64(header), _base64({}), "c2ln"]))
    except InvalidToken:
        return Finding("jwt", "ok", "the key is there, and a made-up token is refused")
    except AuthError as error:
        found = f"{config.jwt.jwks_url}: {error}"
        return Finding("jwt", "failed", found, "it must answer with a JSON Web Key Set")
    finally:
        await authenticator.close()
    return Finding("jwt", "failed", "a made-up token is accepted", "use a key that refuses it")


def _base64(part: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode()


async def _main_host(config: AuthConfig) -> Finding:
    """Ask about a made-up token; the main host must refuse it."""
    url = config.main_host.url.rstrip("/") + config.main_host.path
    client, started = MainHostClient(config.main_host), time.perf_counter()
    try:
        answer = await client.ask(secrets.token_urlsafe(24))
    finally:
        await client.close()
    took = 1000 * (time.perf_counter() - started)
    if isinstance(answer, Accepted):
        found = f"{url} accepts a made-up token"
        return Finding("main host", "failed", found, "it must answer 401 or 403")
    if answer.error is InvalidToken:
        return Finding("main host", "ok", f"{url} refuses a made-up token in {took:.1f} ms")
    return Finding(
        "main host",
        "failed",
        f"{url}: {answer.message}",
        "start it, or set auth.main_host.url and path; it must answer 401 or 403 to a bad token",
    )


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    colors = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in findings:
        color = colors[each.status]
        table.add_row(f"[{color}]{each.status}[/]", each.check, each.found)
        if each.advice:
            table.add_row("", "", f"[{color}]->[/] {each.advice}")
    Console().print(table)
