"""Whether Redis is there and does what is needed of it, for ``aionotify check``.

Says the cause in Redis' own words, and one thing to do.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from aionotify import tasks
from aionotify.broker.agreement import differences, joined, strangers
from aionotify.broker.connection.endpoint import Endpoint, info, replies, translate, translated
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.redis_connections import NoSuchDatabase, quoted
from aionotify.broker.connection.resp import start_reading
from aionotify.broker.connection.sentinel import NoMasterNamed, Objection
from aionotify.broker.keys import Keys
from aionotify.broker.replicas import shortage, wait
from aionotify.cli.finding import Finding
from aionotify.config import RedisConfig
from aionotify.errors import AionotifyError, BrokerUnavailable, ConfigError

_OLDEST: Final = (6, 2)  # Redis; Valkey's versions begin with 7.2
_TIMEOUT: Final = 3.0  # seconds for the probe message to come back
_IN_USE: Final = 5.0  # seconds; nodes say each second what settings they have
_CLOCKS: Final = 10.0  # seconds by which clocks may differ where no tokens are judged by them
_SLOTS: Final = 16  # keys; that all are in one of two shards is one chance in 65,536


async def check_redis(
    config: RedisConfig,
    settings: Sequence[str] = (),
    leeway: float | None = None,
    *,
    takes_entries: bool = False,
    features: Collection[str] = (),
) -> AsyncIterator[Finding]:
    """Yield what is found, in a fixed order, up to what makes the rest pointless.

    Args:
        settings: those that all must have who use the same names, see `agreement`.
        leeway: seconds by which clocks may differ that tokens are judged by; None if none are.
        takes_entries: whether nodes take events from a Redis stream, as `publish.stream` says.
        features: those that are on of `presence` (``presence.events``), `memberships`
            (``groups.memberships``) and `away` (``away.stream``, ``away.webhook``).
    """
    keys = Keys.of(config)
    if config.data_dir is not None:
        yield _data_dir(config.data_dir)
    try:
        # In a directory of its own: the data may be in use, and are not to be changed.
        endpoint = Endpoint(replace(config, data_dir=None))
        await endpoint.start()
    except ConfigError as error:
        yield Finding("redis", "failed", "; ".join(error.problems.values()), "correct redis.url")
        return
    except AionotifyError as error:
        yield Finding("redis", "failed", str(error), "correct redis.url")
        return
    try:
        with translated():
            execute, started = endpoint.commands("check").execute, time.perf_counter()
            await replies(execute, ("EVAL", "return 1", 0))
            took = 1000 * (time.perf_counter() - started)
            yield Finding("redis", "ok", f"{endpoint.description} answers in {took:.1f} ms")
            for objection in endpoint.objections:
                advice = _SENTINEL_ADVICE[objection.objection]
                yield Finding("redis sentinel", "warning", str(objection), advice)
            async for each in _server(execute):
                yield each
            yield (written := await _keys(execute, config.prefix))
            if written.status == "ok":
                yield await _rights(execute, config.prefix, _NODE)
                for feature, work in _FEATURES.items():
                    if feature in features:
                        yield await _rights(execute, config.prefix, work)
            if config.wait_replicas:
                yield await _replicas(execute, config)
            if takes_entries:
                yield await _stream(execute, keys)
            yield await _names(execute, keys, settings)
            yield await _clock(execute, leeway)
            yield await _round_trip(endpoint, keys)
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
        if isinstance(cause, NoMasterNamed):
            said = [each.objection for each in cause.errors]
            answered = [each for each in said if each is not Objection.ABSENT]
            return _SENTINEL_ADVICE[(answered or said)[0]]
        for kind, advice in _ADVICE.items():
            if isinstance(cause, kind):
                return advice
        if isinstance(cause, ResponseError) and _NO_RIGHT.search(str(cause)):
            return _RIGHTS
    if os.strerror(errno.ECONNREFUSED) in str(error):  # at each of several addresses
        return _ADVICE[ConnectionRefusedError]
    if isinstance(error, BrokerUnavailable):
        return "correct redis.url"
    return "change Redis' configuration accordingly"


_RIGHTS: Final = "give the user in redis.url the rights (ACL) that docs/security.rst lists"
_NO_RIGHT: Final = re.compile("ACL failure|can't run this command")  # in a script, by version
_ADVICE: Final[Mapping[type[BaseException], str]] = {
    ssl.SSLError: "correct ssl_ca_certs or the host in redis.url, or the certificate of Redis",
    NoSuchDatabase: "correct the database number at the end of redis.url; 0 is always there",
    AuthenticationError: "correct the user and password in redis.url",
    NoPermissionError: _RIGHTS,
    ReadOnlyError: "set redis.url to the primary, or to the sentinels that know it",
    ConnectionRefusedError: "start Redis at that address",
    FileNotFoundError: "correct the path of the socket in redis.url",
    PermissionError: "let this user open the socket (unixsocketperm in Redis' configuration)",
    socket.gaierror: "correct the host in redis.url",
    TimeoutError: "let what is sent to that address arrive: a firewall may drop it",
}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def _keys(execute: Execute, prefix: str) -> Finding:
    """Write to keys that are not there, in many slots: a cluster's node refuses those of others."""
    expire = "return redis.pcall('EXPIRE', KEYS[1], 1)"
    keys = [f"{prefix}:check:{number}" for number in range(_SLOTS)]
    found = await execute([("EVAL", expire, 1, key) for key in keys])
    others = {(each.host, each.port) for each in found if isinstance(each, MovedError)}
    refused = [each for each in found if isinstance(each, Exception)]
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


class _Work(NamedTuple):
    """What scripts of nodes do with keys.

    Attributes:
        check: what the finding about it is called.
        commands: what they call, such that a key of one kind is gone before the next.
    """

    check: str
    commands: Sequence[str]
    found: str


async def _rights(execute: Execute, prefix: str, work: _Work) -> Finding:
    """Have a script do it, on a key that is gone at its end."""
    call, script = "EVAL", "return 1"
    sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    key = f"{prefix}:check:{{{secrets.token_hex(8)}}}"
    said, cached = await execute([(call, _TRY, 1, key, *work.commands), ("EVALSHA", sha, 0)])
    refused = said if isinstance(said, Exception) else cached
    if isinstance(refused, Exception) and not isinstance(refused, NoScriptError):
        return Finding(work.check, "failed", f"Redis refused: {quoted(refused)}", _RIGHTS)
    return Finding(work.check, "ok", work.found)


_NODE_COMMANDS: Final = (
    *("RPUSH KEY 1", "LLEN KEY", "LINDEX KEY 0", "LSET KEY 0 2", "LRANGE KEY 0 0"),
    *("LTRIM KEY 0 0", "LPOP KEY"),
    *("ZADD KEY 1 x", "ZRANGE KEY 0 0", "ZSCORE KEY x", "ZREMRANGEBYSCORE KEY 0 0"),
    "ZREMRANGEBYRANK KEY 0 -1",
    *("HSET KEY x 1", "HGET KEY x", "HGETALL KEY", "HMGET KEY x", "HKEYS KEY", "HLEN KEY"),
    *("HINCRBY KEY x 1", "HDEL KEY x"),
    *("SET KEY x", "GET KEY", "EXISTS KEY", "EXPIRE KEY 1", "TTL KEY", "GETDEL KEY"),
    *("SET KEY x", "EXPIRE KEY 1", "DEL KEY", "TIME"),
)
_PRESENCE_COMMANDS: Final = (
    *("SADD KEY x", "SISMEMBER KEY x", "SREM KEY x", "SADD KEY x", "SPOP KEY 1"),
    *("ZADD KEY 1 x", "ZREM KEY x", "XADD KEY * x 1", "DEL KEY"),
)
_MEMBERSHIP_COMMANDS: Final = ("ZADD KEY 1 x", "ZCARD KEY", "ZREM KEY x")
_AWAY_COMMANDS: Final = (
    *("ZADD KEY 1 x", "ZRANGEBYSCORE KEY 0 1", "ZREM KEY x", "XADD KEY * x 1", "DEL KEY"),
)
_NODE: Final = _Work("redis rights", _NODE_COMMANDS, "events can be stored, read and removed")
_FEATURES: Final = {
    "presence": _Work("redis presence", _PRESENCE_COMMANDS, "who comes and goes can be told"),
    "memberships": _Work("redis memberships", _MEMBERSHIP_COMMANDS, "users can be put in groups"),
    "away": _Work("redis away", _AWAY_COMMANDS, "events can be handed on"),
}
_TRY: Final = """
local first
for _, line in ipairs(ARGV) do
  local words = {}
  for word in line:gmatch('%S+') do words[#words + 1] = word == 'KEY' and KEYS[1] or word end
  local said = redis.pcall(unpack(words))
  if type(said) == 'table' and said.err and not first then first = said end
end
return first or 1
"""


async def _clock(execute: Execute, leeway: float | None) -> Finding:
    """Compare Redis' clock with ours, by which the expiry of tokens is judged."""
    before = time.time()
    [(seconds, micros)] = await replies(execute, ("TIME",))
    ours = (before + time.time()) / 2
    ahead = ours - (int(seconds) + int(micros) / 1_000_000)
    allowed = _CLOCKS if leeway is None else leeway
    found = f"this machine's is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} Redis'"
    if abs(ahead) <= allowed + (time.time() - before):
        return Finding("clock", "ok", found)
    if leeway is not None:
        found += f"; auth.jwt.leeway is {leeway:g} s"
    advice = "have NTP set the clocks of both machines"
    return Finding("clock", "warning" if leeway is None else "failed", found, advice)


def _data_dir(path: str) -> Finding:
    """Find out whether the private server could write its data."""
    place = Path(path).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        reason = os.strerror(errno.ENOTDIR)
    elif not os.access(place, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EACCES)
    else:
        return Finding("redis data", "ok", f"{path} can be written")
    return Finding("redis data", "failed", f"{place}: {reason}", "correct redis.data_dir")


async def _replicas(execute: Execute, config: RedisConfig) -> Finding:
    """Write something, and wait for as many replicas as each event does."""
    write = "SET", f"{config.prefix}:check:replicas", "", "PX", 1000
    _, reached = await replies(execute, write, wait(config.wait_replicas))
    problem = shortage(reached, config.wait_replicas)
    if problem is None:
        return Finding("redis replicas", "ok", f"{reached} have what is written")
    return Finding(
        "redis replicas",
        "failed",
        problem,
        "start or add replicas, or lower redis.wait_replicas: until then all publishing fails",
    )


async def _stream(execute: Execute, keys: Keys) -> Finding:
    """Do with another stream what a node does with that of events, and look at that one."""
    name = keys.probe_stream
    found = await execute(
        [
            ("XADD", name, "MAXLEN", 1, "*", "event", "check"),
            ("EXPIRE", name, 60),
            ("XREAD", "COUNT", 1, "STREAMS", name, "0-0"),
            ("XRANGE", name, "-", "+", "COUNT", 1),
            ("XDEL", name, "1-1"),
            ("DEL", name),
            ("XLEN", keys.publish),
            ("XLEN", keys.rejected),
        ]
    )
    for reply in found:
        if isinstance(reply, Exception):
            error = translate(reply)
            error.__cause__ = reply
            advice = _advice(error)
            if "WRONGTYPE" in str(error):
                advice = f"delete or rename what is at {keys.publish} or {keys.rejected}"
            return Finding("redis stream", "failed", str(error), advice)
    *_, waiting, rejected = found
    return Finding(
        "redis stream",
        "warning" if rejected else "ok",
        f"{keys.publish} has {waiting} entries to be taken, {keys.rejected} {rejected}",
        f"see why with XRANGE {keys.rejected} - +, then delete it" if rejected else "",
    )


async def _names(execute: Execute, keys: Keys, settings: Sequence[str]) -> Finding:
    """Find another installation that uses the same names, by what it has said lately."""
    numsub = "PUBSUB", "NUMSUB", keys.control, keys.ephemeral
    found = await execute([("TIME",), ("HGETALL", keys.epoch), numsub])
    refused = [each for each in found if isinstance(each, Exception)]
    if refused:
        unknown = f"who else uses them is unknown: {quoted(refused[0])}"
        return Finding("redis names", "warning", unknown, _advice(refused[0]))
    (seconds, micros), used, (_, ours, _, heard) = found
    oldest = (int(seconds) - _IN_USE) * 1_000_000 + int(micros)
    in_use = [
        name.decode(errors="replace")
        for name, when in zip(used[::2], used[1::2], strict=True)
        if b" " in name and when.isdigit() and int(when) >= oldest
    ]
    problem = joined(differences(settings, in_use) + strangers(heard - ours, keys.ephemeral))
    if problem is None:
        text = f"nobody with other settings uses {keys.control} and {keys.ephemeral}"
        return Finding("redis names", "ok", text)
    return Finding(
        "redis names",
        "warning",
        problem,
        "if it is another installation, set redis.prefix and redis.channel to names of its own;"
        " if not, give all nodes and producers the same settings",
    )


async def _server(execute: Execute) -> AsyncIterator[Finding]:
    """Check the server by the reply of INFO, if it is allowed."""
    [reply] = await execute([("INFO",)])
    if isinstance(reply, ResponseError):
        found = f"version, memory and persistence are unknown: {quoted(reply)}"
        yield Finding("redis server", "warning", found, "allow INFO (+info) to check them")
        return
    said = info(reply)
    name = said.get("server_name", "redis")
    text = said.get(f"{name}_version", said.get("redis_version", "0"))
    version = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    yield Finding(
        "redis version",
        "ok" if version >= _OLDEST else "failed",
        f"{name} {text}",
        "" if version >= _OLDEST else f"upgrade to Redis {_OLDEST[0]}.{_OLDEST[1]} or newer",
    )
    policy = said.get("maxmemory_policy", "noeviction")
    evicts = said.get("maxmemory", "0") != "0" and policy != "noeviction"
    yield Finding(
        "redis memory",
        "warning" if evicts else "ok",
        f"maxmemory-policy {policy}, maxmemory {said.get('maxmemory_human', '0B')}",
        "when memory is full Redis drops events that are not delivered yet;"
        " set maxmemory-policy noeviction"
        if evicts
        else "",
    )
    durable = said.get("aof_enabled", "0") != "0"
    yield Finding(
        "redis persistence",
        "ok" if durable else "warning",
        "append-only file" if durable else "no append-only file",
        "" if durable else "a restart of Redis loses recent events; set appendonly yes",
    )


async def _round_trip(endpoint: Endpoint, keys: Keys) -> Finding:
    """Publish a message and receive it, as every delivery does."""
    channel = keys.check(secrets.token_hex(8))
    connection = await endpoint.subscriber()
    messages: asyncio.Queue[Any] = asyncio.Queue()

    def take(some: list[Any]) -> None:
        for message in some:
            messages.put_nowait(message)

    try:
        start_reading(connection, take, errors=True)
        await connection.send_command("SUBSCRIBE", channel, keys.ephemeral)
        async with tasks.timeout(_TIMEOUT):
            for _ in range(2):
                if isinstance(confirmed := await messages.get(), Exception):
                    raise confirmed
            started = time.perf_counter()
            await replies(endpoint.commands("check").execute, ("PUBLISH", channel, b""))
            while (await messages.get())[:2] != [b"message", channel.encode()]:
                pass
            took = 1000 * (time.perf_counter() - started)
            await connection.send_command("UNSUBSCRIBE", channel)
            if isinstance(left := await messages.get(), Exception):
                raise left
        return Finding("redis pub/sub", "ok", f"a message comes back in {took:.1f} ms")
    except TimeoutError:
        return Finding(
            "redis pub/sub",
            "failed",
            f"no message came back within {_TIMEOUT:g} s",
            "connect to Redis directly; a proxy in between may not support pub/sub",
        )
    finally:
        await connection.disconnect(nowait=True)
