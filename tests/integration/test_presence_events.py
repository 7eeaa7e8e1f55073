"""Who comes and who goes, as it is told in Redis: once, and right over whatever nodes do."""

import asyncio
import os
import shlex
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from aionotify.broker.keys import Keys
from aionotify.broker.node_lease import LENGTH
from aionotify.cli.check_redis import check_redis
from aionotify.config import RedisConfig
from tests.broker.lua import source
from tests.docs.snippets import snippet
from tests.embedded import embedded
from tests.harness import PATIENCE, MainHost, NotifyServer, RedisServer, TcpProxy, eventually
from tests.integration.auth.test_redis_rights import RULES
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, stream

NODES = "aionotify:presence{0}:nodes"
LEAVING = "aionotify:presence{0}:leaving"
USERS = "aionotify:presence{0}:users"
STREAM = "aionotify:presence{0}:events"
GRACE = 0.5  # seconds
SETTINGS: Mapping[str, object] = {
    "presence.events": True,
    "presence.grace": GRACE,
    "server.drain": 1,
}
LONG = {**SETTINGS, "presence.grace": 20}
"""Longer than whatever a test does between the end of a stream and the next one of its user."""


def said(server: NotifyServer, *parts: str) -> bool:
    """Whether one line of the log has all of `parts`."""
    return any(all(part in line for part in parts) for line in server.logs)


def told(server: RedisServer) -> list[str]:
    """All that was told, in order, as ``came 42``."""
    entries = server.cli("XRANGE", STREAM, "-", "+")
    return [f"{fields['event']} {fields['user_id']}" for _, fields in entries]


def of(server: RedisServer, *users: str) -> list[str]:
    """What was told of some users."""
    return [each for each in told(server) if each.partition(" ")[2] in users]


async def until_told(server: RedisServer, *events: str) -> None:
    await eventually(lambda: told(server) == list(events))


async def somebody_else_comes_and_goes(
    at: NotifyServer | str, redis: RedisServer, user: str
) -> None:
    """When this has been told, so has everything that was due before."""
    async with stream(at, user):
        await eventually(lambda: of(redis, user) == [f"came {user}"])
    await eventually(lambda: of(redis, user) == [f"came {user}", f"went {user}"])


async def test_a_user_comes_with_the_first_stream_and_goes_after_the_last_one(
    serve: Serve, redis_server: RedisServer
) -> None:
    """On whatever nodes; in between nothing is told."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    first, second, third = stream(one, "42"), stream(other, "42"), stream(other, "42")
    await first.connect()
    await until_told(redis_server, "came 42")
    await second.connect()
    await third.connect()
    await first.close()
    await second.close()
    await somebody_else_comes_and_goes(one, redis_server, "7")
    assert of(redis_server, "42") == ["came 42"]
    await third.close()
    await eventually(lambda: of(redis_server, "42") == ["came 42", "went 42"])
    told_by = [
        await metric(each, "aionotify_presence_events_total", event="came") for each in (one, other)
    ]
    assert sum(told_by) == 2


async def test_a_connection_that_flaps_is_told_of_once(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Also if it comes back at another node each time."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42"):
        await until_told(redis_server, "came 42")
    for number in range(30):
        async with stream((one, other)[number % 2], "42"):
            pass
    async with stream(other, "42"):
        await somebody_else_comes_and_goes(one, redis_server, "7")
        assert of(redis_server, "42") == ["came 42"]
    await eventually(lambda: of(redis_server, "42") == ["came 42", "went 42"])


async def test_groups_are_no_users(
    serve: Serve, redis_server: RedisServer, main_host: MainHost
) -> None:
    """Neither come nor go, nor are on a page of who is online."""
    main_host.answers["token-member"] = {"user_id": "member", "groups": ["team:7", "team:8"]}
    key = "publisher-key-0123456789"
    server = await serve({**SETTINGS, "admin.publish_keys": [key]})
    async with stream(server, "member"):
        await until_told(redis_server, "came member")
        found = (await ask(server, "/presence", token=key)).json
        assert found["users"] == ["member"]
        assert found["count"] == {"users": 1, "streams": 1, "exact": True}
    await until_told(redis_server, "came member", "went member")


async def test_without_a_grace_each_end_is_told(serve: Serve, redis_server: RedisServer) -> None:
    server = await serve({**SETTINGS, "presence.grace": 0})
    for _ in range(3):
        async with stream(server, "42"):
            await eventually(lambda: told(redis_server)[-1:] == ["came 42"])
        await eventually(lambda: told(redis_server)[-1:] == ["went 42"])
    assert told(redis_server) == ["came 42", "went 42"] * 3


async def test_the_users_of_a_node_that_was_killed_have_gone_once(
    serve: Serve, redis_server: RedisServer
) -> None:
    """But for those who have a stream elsewhere, or come back; nothing of the node stays behind."""
    nodes = [await serve(SETTINGS) for _ in range(3)]
    users = ("alone", "both", "back")
    async with stream(nodes[1], "both"), AsyncExitStack() as stack:
        for user in users:
            await stack.enter_async_context(stream(nodes[0], user))
        await eventually(lambda: sorted(told(redis_server)) == sorted(f"came {u}" for u in users))
        await nodes[0].kill()
        async with stream(nodes[2], "back"):
            await eventually(lambda: "went alone" in told(redis_server))
            await somebody_else_comes_and_goes(nodes[2], redis_server, "7")
            assert of(redis_server, "alone") == ["came alone", "went alone"]
            assert of(redis_server, "both", "back") == [
                each for each in told(redis_server) if each in ("came both", "came back")
            ]
            assert redis_server.cli("HGETALL", USERS) == {"both": "1", "back": "1"}
            assert redis_server.cli("SCARD", NODES) == 2
            fields = redis_server.cli("HKEYS", "aionotify:epoch")
            assert sum(field.startswith("node:") for field in fields) == 2


async def test_a_deploy_is_not_told_of(serve: Serve, redis_server: RedisServer) -> None:
    """Streams move to another node as their own one drains; who does not come back has gone."""
    old, new = await serve({**SETTINGS, "server.drain": 3}), await serve(SETTINGS)
    async with stream(old, "moving") as moving, stream(old, "leaving"):
        await eventually(lambda: len(told(redis_server)) == 2)
        os.kill(old.pid, signal.SIGTERM)
        await moving.wait_end()
    async with stream(new, "moving"):
        assert await old.wait() == 0
        await eventually(lambda: of(redis_server, "leaving") == ["came leaving", "went leaving"])
        await somebody_else_comes_and_goes(new, redis_server, "7")
        assert of(redis_server, "moving") == ["came moving"]


async def test_a_node_that_drains_says_of_nobody_that_he_leaves_before_it_has(
    redis_server: RedisServer,
) -> None:
    """However long that takes: its clients are on their way to another one."""
    presence = {"events": True, "grace": 0}
    async with embedded(redis_server.url, presence=presence) as (other, _):
        async with embedded(redis_server.url, presence=presence) as (url, services):
            async with stream(url, "moving"), stream(url, "leaving"):
                await eventually(lambda: len(told(redis_server)) == 2)
                assert services.presence_tracker is not None
                services.presence_tracker.leave()
            await somebody_else_comes_and_goes(other, redis_server, "7")
            assert len(of(redis_server, "moving", "leaving")) == 2
            moved = stream(other, "moving")
            await moved.connect()
            await eventually(lambda: redis_server.cli("HGET", USERS, "moving") == "2")
        await eventually(lambda: of(redis_server, "leaving") == ["came leaving", "went leaving"])
        assert of(redis_server, "moving") == ["came moving"]
        await moved.close()


async def test_the_only_node_may_be_replaced_without_a_word(
    serve: Serve, redis_server: RedisServer
) -> None:
    """However long that takes: nobody could come back before the new one was there."""
    settings = {**SETTINGS, "presence.grace": 3}
    for end in (NotifyServer.terminate, NotifyServer.kill):
        server = await serve(settings)
        async with stream(server, "staying"), stream(server, "leaving"):
            await eventually(lambda: len(told(redis_server)) == 2)
            await end(server)
        await until_overdue(redis_server)
        server = await serve(settings)
        async with stream(server, "staying"):
            await eventually(lambda: "went leaving" in told(redis_server))
            assert of(redis_server, "staying") == ["came staying"]
        await server.kill()
        redis_server.cli("FLUSHALL")


async def until_overdue(server: RedisServer) -> None:
    """Wait until whoever is leaving would have gone, were there a node to find out."""

    def overdue() -> bool:
        seconds, _ = server.cli("TIME")
        return bool(server.cli("ZCOUNT", LEAVING, seconds * 1000, "+inf") == 0)

    await eventually(overdue)


@pytest.mark.parametrize("grace", [0, 20])
async def test_a_node_that_was_frozen_tells_of_its_users_anew(
    serve: Serve, redis_server: RedisServer, grace: int
) -> None:
    """Nobody could reach them meanwhile, and the others took the node to be dead."""
    settings = {**SETTINGS, "presence.grace": grace}
    one, _ = await serve(settings), await serve(settings)
    async with stream(one, "42") as client:
        await until_told(redis_server, "came 42")
        os.kill(one.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: redis_server.cli("SCARD", NODES) == 1)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        again = [] if grace else ["went 42", "came 42"]
        await eventually(lambda: redis_server.cli("SCARD", NODES) == 2)
        await until_told(redis_server, "came 42", *again)
        assert client.end is None


async def test_a_node_gives_others_the_time_of_a_lease_before_it_takes_them_to_be_dead(
    redis_server: RedisServer,
) -> None:
    """After a failover all leases have lapsed, until each node has come back."""
    keys, script = Keys("aionotify").presence("other"), source("presence_tracker.lua")
    for what, *users in (("begin",), ("tell", "+42")):
        args: list[str | int] = [what, "other", 0, 100, 100, 60, *users]
        redis_server.cli("EVAL", script, len(keys), *keys, *args)
    redis_server.cli("HSET", "aionotify:epoch", "node:other", 0)
    began = time.monotonic()
    async with embedded(redis_server.url, presence={"events": True, "grace": 0}):
        await until_told(redis_server, "came 42", "went 42")
        assert time.monotonic() - began > LENGTH


async def test_a_redis_without_its_data_is_told_who_is_there(
    serve: Serve, own_redis: RedisServer
) -> None:
    """That may be the second time that somebody hears it."""
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    async with stream(server, "42"):
        await until_told(own_redis, "came 42")
        own_redis.cli("FLUSHALL")
        await until_told(own_redis, "came 42")
    await until_told(own_redis, "came 42", "went 42")


async def test_a_redis_that_was_away_has_nobody_gone(serve: Serve, own_redis: RedisServer) -> None:
    """Nodes come back to it one after the other, and each renews its lease only then."""
    settings = {**SETTINGS, "presence.grace": 0, "redis.url": own_redis.url}
    nodes = [await serve(settings) for _ in range(2)]
    async with stream(nodes[0], "42"), stream(nodes[1], "7"):
        await eventually(lambda: sorted(told(own_redis)) == ["came 42", "came 7"])
        own_redis.pause()
        try:
            for node in nodes:
                await eventually(partial(said, node, "not subscribed to Redis"))
        finally:
            own_redis.resume()
        await eventually(lambda: own_redis.cli("SCARD", NODES) == 2)
        await eventually(lambda: set(own_redis.cli("HVALS", USERS)) == {"1"})
        async with stream(nodes[0], "8"):
            await eventually(lambda: "came 8" in told(own_redis))
        assert sorted(of(own_redis, "42", "7")) == ["came 42", "came 7"]


async def test_a_failover_that_lost_something_is_made_good(tmp_path: Path) -> None:
    """Who came meanwhile has come, and who went has gone; of the others nothing is told."""
    places = [tmp_path / name for name in ("master", "replica")]
    for place in places:
        place.mkdir()
    presence = {"events": True, "grace": GRACE}
    with RedisServer(places[0]) as old, RedisServer(places[1]) as new:
        new.cli("REPLICAOF", "127.0.0.1", old.port)
        await eventually(lambda: new.cli("INFO", "replication")["master_link_status"] == "up")
        async with (
            TcpProxy(old.port) as proxy,
            embedded(proxy.url, presence=presence) as (url, _),
            stream(url, "stays"),
        ):
            async with stream(url, "goes"):
                await eventually(lambda: sorted(told(new)) == ["came goes", "came stays"])
                new.cli("REPLICAOF", "NO", "ONE")
            await eventually(lambda: "went goes" in told(old))
            async with stream(url, "comes"):
                await eventually(lambda: "came comes" in told(old))
                proxy.lead_to(new.port)
                old.cli("REPLICAOF", "127.0.0.1", new.port)
                await eventually(lambda: {"came comes", "went goes"} <= set(told(new)))
                async with stream(url, "7"):
                    await eventually(lambda: of(new, "7") == ["came 7"])
                await eventually(lambda: of(new, "7") == ["came 7", "went 7"])
                events = [f"{event} goes" for event in ("came", "went")]
                assert of(new, "goes") == events
                assert of(new, "stays", "comes") == ["came stays", "came comes"]


async def test_a_full_redis_is_told_of_and_loses_nothing(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    async with stream(server, "42"):
        await until_told(own_redis, "came 42")
        own_redis.cli("CONFIG", "SET", "maxmemory", 1)
        async with stream(server, "7"):
            await eventually(lambda: said(server, "presence not told", "maxmemory"))
            checks = (await ask(server, "/readyz")).json["checks"]
            assert not checks["presence"]["ok"]
            own_redis.cli("CONFIG", "SET", "maxmemory", 0)
            await until_told(own_redis, "came 42", "came 7")
            await eventually(lambda: said(server, "presence told again"))
        await until_told(own_redis, "came 42", "came 7", "went 7")


async def test_the_stream_has_no_more_entries_than_it_may(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({**SETTINGS, "presence.max_events": 5})
    async with AsyncExitStack() as stack:
        for number in range(8):
            await stack.enter_async_context(stream(server, f"user{number}"))
            await eventually(partial(last_is, redis_server, f"came user{number}"))
        assert told(redis_server) == [f"came user{number}" for number in range(3, 8)]


async def test_a_program_hears_of_it_as_the_docs_show(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve(SETTINGS)
    [_, *words] = shlex.split(snippet("docs/presence.rst", "redis-cli XREAD"))
    reading = asyncio.create_task(asyncio.to_thread(redis_server.cli, *words, timeout=PATIENCE))
    await eventually(lambda: redis_server.cli("INFO", "clients")["blocked_clients"] == 1)
    async with stream(server, "42"):
        [[name, [[_, fields]]]] = await reading
    assert (name, fields) == (STREAM, {"event": "came", "user_id": "42"})


def last_is(server: RedisServer, event: str) -> bool:
    return told(server)[-1:] == [event]


async def commands_of(server: RedisServer, seconds: int) -> tuple[float, dict[str, int]]:
    """The commands that were sent in so many seconds, or some more."""
    before, began = _counts(server), time.monotonic()
    await eventually(lambda: time.monotonic() >= began + seconds)
    after, took = _counts(server), time.monotonic() - began
    return took, {name: count - before.get(name, 0) for name, count in after.items()}


def _counts(server: RedisServer) -> dict[str, int]:
    stats = server.cli("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}


OF_HANDSHAKES = {"subscribe", "unsubscribe", "hmget", "llen", "hincrby", "ping"}
OF_PROBES = {"evalsha", "eval", "publish", "hgetall", "hset", "time", "pubsub|numsub", "info"}
OF_THIS_TEST = {"client|setinfo", "client|setname", "select", "xrange", "ttl"}


@pytest.mark.parametrize("events", [False, True])
async def test_a_node_with_nothing_to_tell_costs_redis_one_script_and_one_message_a_second(
    serve: Serve, own_redis: RedisServer, events: bool
) -> None:
    """Whether it tells who comes and goes or not; if not, Redis has nothing of it."""
    settings = {**LONG, "presence.events": events, "redis.url": own_redis.url}
    nodes = [await serve(settings) for _ in range(2)]
    async with stream(nodes[0], "42"), stream(nodes[1], "42"):
        if events:
            await until_told(own_redis, "came 42")

        async def idle() -> tuple[float, dict[str, int]] | None:
            took, used = await commands_of(own_redis, 3)
            return None if any(used.get(name) for name in OF_HANDSHAKES) else (took, used)

        found = await eventually(idle)
        assert found is not None
        took, used = found
        scripts = used["evalsha"] + used.get("eval", 0)
        assert 2 <= scripts <= len(nodes) * (took + 1)
        assert 2 <= used["publish"] <= len(nodes) * (took + 1)
        assert {name for name, count in used.items() if count} <= OF_PROBES | OF_THIS_TEST
    if not events:
        assert own_redis.cli("KEYS", "*presence*") == []
        assert not any("node" in each for each in own_redis.cli("HKEYS", "aionotify:epoch"))


RIGHTS = "+xadd +sadd +srem +spop +sismember +zrem"


async def test_nodes_need_the_rights_that_the_docs_name_and_check_tries_each(
    serve: Serve, own_redis: RedisServer
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.rst").read_text()
    assert f"``{RIGHTS}`` are required for ``presence.events``" in page
    [_, _, *rules] = RULES["aionotify"].replace("PASSWORD", "password").split()
    url = f"redis://aionotify:password@127.0.0.1:{own_redis.port}"
    own_redis.cli("ACL", "SETUSER", "aionotify", *rules, *RIGHTS.split())
    server = await serve({**SETTINGS, "redis.url": url})
    async with stream(server, "42"):
        await until_told(own_redis, "came 42")
    await until_told(own_redis, "came 42", "went 42")
    await server.kill()
    server = await serve({**SETTINGS, "redis.url": url})
    await eventually(lambda: own_redis.cli("SCARD", NODES) == 1)
    assert not said(server, "level=warning")
    assert [
        each["object"] for each in own_redis.cli("ACL LOG") if each["object"] not in OPTIONAL
    ] == []

    async def checked(*given: str) -> str:
        own_redis.cli("ACL", "SETUSER", "aionotify", "reset", *rules, *given)
        config = RedisConfig(url=url)
        found = {each.check: each async for each in check_redis(config, features=["presence"])}
        return found["redis presence"].status

    assert await checked(*RIGHTS.split()) == "ok"
    for right in RIGHTS.split():
        assert await checked(*(each for each in RIGHTS.split() if each != right)) == "failed"


OPTIONAL = {"client|setname", "info"}
