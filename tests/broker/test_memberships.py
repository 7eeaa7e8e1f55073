"""Who was put in which group, in Redis: stored by user and by group, and told to all nodes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aionotify.broker import memberships as module
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import Command, Execute
from aionotify.broker.inspection import Inspection
from aionotify.broker.keys import Keys
from aionotify.broker.memberships import RedisMemberships
from aionotify.config import RedisConfig
from aionotify.errors import BrokerRefused, BrokerUnavailable, GroupFull
from tests.broker.test_control import hear, node
from tests.harness import RedisServer

KEYS = Keys("p", "")
GROUP = "team:7"
HOSTILE = (
    *(
        "a}:groups",
        "{a}",
        "%g1",
        "{%g1}",
        "a:members",
        ":",
        "a b",
        "a/b",
        "../x",
        "[",
        "(",
        "+",
        "-",
    ),
    *("gr\u00f6\u00dfe", "\u20ac\U0001f600", '"', "\\", "x" * 256, "\u2028", "1", "true"),
)


@asynccontextmanager
async def store_of(server: RedisServer, max_groups: int = 100) -> AsyncIterator[RedisMemberships]:
    endpoint = Endpoint(RedisConfig(url=server.url))
    execute = endpoint.commands("writes").execute
    inspection = Inspection(execute, KEYS)
    store = RedisMemberships(execute, KEYS, inspection, max_groups=max_groups)
    yield store
    await store.close()
    await inspection.close()
    await endpoint.close()


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[RedisMemberships]:
    async with store_of(redis_server) as made:
        yield made


async def members(store: RedisMemberships, group: str = GROUP) -> list[str]:
    return list(await store.members(group, prefix="", after="", at_most=1000))


async def test_who_is_put_in_a_group_is_in_it_until_they_are_taken_out(
    store: RedisMemberships,
) -> None:
    """However often either is said."""
    for _ in range(2):
        await store.put("alice", GROUP)
        await store.put("alice", "team:8")
        assert await store.groups_of("alice") == {GROUP, "team:8"}
        assert await members(store) == ["alice"]
    assert (await store.remove("alice", GROUP)).changed
    assert not (await store.remove("alice", GROUP)).changed
    assert await store.groups_of("alice") == {"team:8"}
    assert await members(store) == []


async def test_both_lists_are_there_for_good_and_go_when_they_are_empty(
    store: RedisMemberships, redis_server: RedisServer
) -> None:
    await store.put("alice", GROUP)
    keys = {KEYS.groups("alice"), KEYS.members(GROUP)}
    assert set(redis_server.cli("KEYS", "*")) == keys
    assert [redis_server.cli("TTL", key) for key in keys] == [-1, -1]
    await store.remove("alice", GROUP)
    assert redis_server.cli("KEYS", "*") == []


async def test_any_name_of_a_user_or_a_group_stands_for_itself_alone(
    store: RedisMemberships,
) -> None:
    for name in HOSTILE:
        await store.put(name, name)
    for name in HOSTILE:
        assert await store.groups_of(name) == {name}
        assert await members(store, name) == [name]
    for name in HOSTILE:
        assert (await store.remove(name, name)).changed
    assert [await store.groups_of(name) for name in HOSTILE] == [frozenset()] * len(HOSTILE)


async def test_all_nodes_are_told_of_each_change(
    store: RedisMemberships, redis_server: RedisServer
) -> None:
    """Also of one that changes nothing: it may be repeated because it got no answer."""
    with node(redis_server) as one, node(redis_server) as other:
        for _ in range(2):
            assert await store.put("42", GROUP) == 2
            told = {"membership": {"user_id": "42", "group": GROUP, "member": True}}
            assert hear(one) == hear(other) == told
        for changed in (True, False):
            removal = asyncio.create_task(store.remove("42", GROUP))
            heard = (await asyncio.to_thread(hear, one))["membership"]
            name = f"p:inspection:{heard.pop('name')}"
            assert heard == {"user_id": "42", "group": GROUP, "member": False}
            assert not removal.done()  # it waits for both
            redis_server.cli("RPUSH", name, module.GRANTED.decode(), "")
            assert await removal == (changed, (2, [module.GRANTED, b""]))
            hear(other)


async def test_a_node_that_does_not_answer_is_waited_for_no_longer_than_a_second(
    store: RedisMemberships, redis_server: RedisServer
) -> None:
    await store.put("42", GROUP)
    with node(redis_server):
        started = asyncio.get_running_loop().time()
        assert await store.remove("42", GROUP) == (True, (1, []))
        assert 0.9 < asyncio.get_running_loop().time() - started < 5


async def test_a_user_is_put_in_no_more_groups_than_are_allowed(redis_server: RedisServer) -> None:
    """And nobody is told, nor has the group the member. Those that there are may be repeated."""
    async with store_of(redis_server, max_groups=2) as store:
        for group in ("a", "b"):
            await store.put("alice", group)
        with node(redis_server) as heard:
            with pytest.raises(GroupFull, match="the user is in 2 groups"):
                await store.put("alice", "c")
            assert heard.get_message(timeout=0.1) is None
        assert await members(store, "c") == []
        await store.put("alice", "b")
        assert await store.groups_of("alice") == {"a", "b"}
    async with store_of(redis_server, max_groups=1) as store:  # the limit was lowered
        await store.put("alice", "a")
        assert await store.groups_of("alice") == {"a", "b"}


async def test_a_group_has_no_more_members_than_are_allowed(
    store: RedisMemberships, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    for user in ("alice", "bob", "alice"):
        await store.put(user, GROUP)
    with pytest.raises(GroupFull, match="the group has 2 members"):
        await store.put("carol", GROUP)
    assert await members(store) == ["alice", "bob"]
    assert await store.groups_of("carol") == frozenset()


@pytest.mark.parametrize("step", range(1, 6))
async def test_a_change_that_died_in_between_is_repaired_by_a_repetition(
    redis_server: RedisServer, step: int
) -> None:
    """Whichever of its commands was its last. Until then, nobody hears what they should not."""

    class Died(Exception):
        pass

    async with store_of(redis_server) as store, store_of(redis_server) as other:
        for change, is_in in ((store.put, True), (store.remove, False)):
            left, execute = step, store._execute

            async def dying(commands: Sequence[Command], execute: Execute = execute) -> list[Any]:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Died
                return await execute(commands)

            store._execute = store._script._execute_all = dying
            with contextlib.suppress(Exception):
                await change("alice", GROUP)
            store._execute = store._script._execute_all = execute
            if await other.groups_of("alice"):
                assert await members(other) == ["alice"]
            await change("alice", GROUP)
            assert (await other.groups_of("alice") == {GROUP}) is is_in
            assert (await members(other) == ["alice"]) is is_in


async def test_whoever_is_put_in_and_taken_out_at_once_is_in_both_lists_or_in_the_members_alone(
    redis_server: RedisServer,
) -> None:
    """The user's groups are what counts; whoever is in them is among the group's members."""
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        for round in range(50):
            user = f"user:{round}"
            await asyncio.gather(one.put(user, GROUP), other.remove(user, GROUP))
            if await one.groups_of(user):
                assert user in await members(one)
            await other.remove(user, GROUP)
            assert user not in await members(one)


async def test_a_removal_between_the_steps_of_putting_in_leaves_the_member_in_both_lists(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store_of(redis_server) as one, store_of(redis_server) as other:
        change = one._change

        async def late(*args: Any, **kwargs: Any) -> tuple[int, bool]:
            await other.remove("alice", GROUP)
            return await change(*args, **kwargs)

        monkeypatch.setattr(one, "_change", late)
        await one.put("alice", GROUP)
        assert await one.groups_of("alice") == {GROUP}
        assert await members(one) == ["alice"]


async def test_members_come_in_pages_that_follow_on_from_each_other(
    store: RedisMemberships,
) -> None:
    users = sorted((*HOSTILE, *(f"shop:{number}" for number in range(10))), key=str.encode)
    for user in users:
        await store.put(user, GROUP)
    found: list[str] = []
    after = ""
    while page := await store.members(GROUP, prefix="", after=after, at_most=4):
        found += page
        after = page[-1]
    assert found == users


async def test_members_are_only_those_with_a_prefix_wherever_a_page_begins(
    store: RedisMemberships,
) -> None:
    for user in ("shoo", "shop", "shop:", "shop:1", "shop:2", "shop:\U0010ffff", "shop;", "zoo"):
        await store.put(user, GROUP)
    ours = ["shop:", "shop:1", "shop:2", "shop:\U0010ffff"]
    for after, expected in (("", ours), ("a", ours), ("shop:1", ours[2:]), ("zoo", [])):
        assert await store.members(GROUP, prefix="shop:", after=after, at_most=9) == expected


async def test_what_is_kept_there_by_somebody_else_is_refused_and_no_reason_for_others(
    store: RedisMemberships, redis_server: RedisServer
) -> None:
    await store.put("alice", GROUP)
    redis_server.cli("SET", KEYS.groups("bob"), "x")
    redis_server.cli("ZADD", KEYS.groups("carol"), "0", b"\xff\xfe")
    found: list[Any] = await asyncio.gather(
        *map(store.groups_of, ("alice", "bob", "carol")), return_exceptions=True
    )
    assert found[0] == {GROUP}
    assert all(isinstance(each, BrokerRefused) for each in found[1:])
    with pytest.raises(BrokerRefused):
        await store.put("bob", GROUP)


async def test_while_redis_is_away_all_of_it_fails(own_redis: RedisServer) -> None:
    async with store_of(own_redis) as store:
        own_redis.stop()
        for question in (
            store.put("alice", GROUP),
            store.remove("alice", GROUP),
            store.groups_of("alice"),
            store.members(GROUP, prefix="", after="", at_most=1),
        ):
            with pytest.raises(BrokerUnavailable):
                await question


async def test_a_redis_that_stores_nothing_puts_nobody_in_a_group(own_redis: RedisServer) -> None:
    """And whoever is in one can be taken out."""
    async with store_of(own_redis) as store:
        await store.put("bob", GROUP)
        own_redis.cli("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(BrokerRefused):
            await store.put("alice", GROUP)
        assert (await store.remove("bob", GROUP)).changed
        for user in ("alice", "bob"):
            assert await store.groups_of(user) == frozenset()
