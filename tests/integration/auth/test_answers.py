"""A deploy or a crash, as the main host sees it: nobody is asked about who only moves."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from os import kill

import pytest
import redis

from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, publish, received, stream

KEY = "publisher-key-0123456789"
# Nothing is young, so that what counts is whether a stream is open.
SETTINGS = {
    "server.drain": 1,
    "admin.publish_keys": [KEY],
    "auth.main_host.cache_ttl": 0,
}
USERS = [str(number) for number in range(30)]


async def known(server: NotifyServer) -> float:
    """How many were let in on what the main host had answered elsewhere."""
    labels = {"source": "answer_store", "outcome": "accepted"}
    return await metric(server, "aionotify_auth_answers_total", **labels)


async def revoke(server: NotifyServer, user: str) -> None:
    """As often as it takes: while a node connects anew, it answers 503."""

    async def accepted() -> bool:
        return (await ask(server, f"/streams/{user}", "DELETE", token=KEY)).status == 202

    await eventually(accepted)


def records(redis: RedisServer) -> list[str]:
    found: list[str] = redis.cli("KEYS", "aionotify:auth{0}:answer:*")
    return found


def marks(redis: RedisServer) -> int:
    """How many records say that a stream is open."""
    return sum(redis.cli("HLEN", record) > 3 for record in records(redis))


@pytest.mark.parametrize("how", ["drained", "killed"])
async def test_streams_go_from_node_to_node_and_nobody_is_asked(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer, how: str
) -> None:
    """From one to the other, and on to a third one that has started since."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)

    async def leave(server: NotifyServer) -> None:
        if how == "drained":
            assert await server.terminate() == 0
        else:
            await server.kill()

    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(one, user))
        await eventually(lambda: marks(redis_server) == len(USERS))
        await leave(one)
        for user in USERS:
            assert (await stack.enter_async_context(stream(other, user))).status == 200
        assert await known(other) == len(USERS)
        third = await serve(SETTINGS)
        await leave(other)
        for user in USERS:
            client = await stack.enter_async_context(stream(third, user))
            publish(redis_server, {"recipient_id": user, "n": 1})
            assert await received(client, 1)
        assert await known(third) == len(USERS)
    assert main_host.seen.about == {f"token-{user}": 1 for user in USERS}


async def test_streams_come_back_to_the_node_that_follows_and_nobody_is_asked(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """As on a socket that stays: it starts when the one before has ended."""
    server = await serve({**SETTINGS, "server.workers": 2})
    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(server, user))
        await eventually(lambda: marks(redis_server) == len(USERS))
        assert await server.terminate() == 0
        asked = main_host.seen.about
        await server.start()
        for user in USERS:
            assert (await stack.enter_async_context(stream(server, user))).status == 200
    assert main_host.seen.about == asked


async def test_who_has_left_is_asked_about_when_they_come_back(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """Their answer is not young any more, and has no stream once the last of theirs has ended."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42"):
        async with stream(one, "42"):
            await eventually(lambda: marks(redis_server) == 1)
        assert (await knock(other, "token-42")).status == 200
        assert await known(other) == 1
        asked = main_host.seen.about["token-42"]
    await eventually(lambda: records(redis_server) and not marks(redis_server))
    assert (await knock(other, "token-42")).status == 200
    assert main_host.seen.about["token-42"] == asked + 1


async def test_tabs_with_one_token_all_move(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """With a header or with a ticket, of which there has to be a new one."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(stream(one, "42"))
        await eventually(lambda: marks(redis_server) == 1)
        asked = main_host.seen.about
        assert await one.terminate() == 0
        for _ in range(5):
            assert (await stack.enter_async_context(stream(other, "42"))).status == 200
            answer = await ask(other, "/notify/ticket", "POST", token="token-42")
            query = f"?ticket={answer.json['ticket']}"
            client = SSEClient(f"{other.url}/notify{query}")
            assert (await stack.enter_async_context(client)).status == 200
    assert main_host.seen.about == asked


async def test_who_has_moved_is_asked_about_when_it_is_time(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    settings = {**SETTINGS, "auth.revalidate": 4}
    one, other = await serve(settings), await serve(settings)
    async with stream(one, "42"):
        await eventually(lambda: marks(redis_server) == 1)
        main_host.be(refused=["token-42"])
        assert await one.terminate() == 0
    async with stream(other, "42") as client:
        assert client.status == 200
        assert await client.wait_end() == "complete"
        assert client.events[-1].event == "aionotify.expired"
        for server in (other, await serve(settings)):
            assert (await knock(server, "token-42")).status == 401
    assert records(redis_server) == []


async def test_who_is_revoked_while_a_node_leaves_gets_in_nowhere(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """And who has moved already is sent away."""
    settings = {**SETTINGS, "server.drain": 300}  # a stream a second
    one, other = await serve(settings), await serve(settings)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(one, user)) for user in USERS]
        await eventually(lambda: marks(redis_server) == len(USERS))
        main_host.be(refused=[f"token-{user}" for user in USERS])
        kill(one.pid, signal.SIGTERM)
        await eventually(lambda: sum(client.end is not None for client in clients) >= 3)
        gone = [user for user, client in zip(USERS, clients, strict=True) if client.end is not None]
        here = next(user for user, client in zip(USERS, clients, strict=True) if client.end is None)
        moved, away, *_ = gone
        async with stream(other, moved) as client:
            assert client.status == 200
            for user in (moved, away, here):
                await revoke(other, user)
            assert await client.wait_end() == "complete"
            assert json.loads(client.events[-1].data) == {"reason": "revoked"}
        assert await clients[int(here)].wait_end() == "complete"
        third = await serve(settings)
        kill(one.pid, signal.SIGTERM)  # a second time, so that it ends at once
        await one.wait()
        for server in (other, third, await serve(settings)):
            for user in (moved, away, here):
                assert (await knock(server, f"token-{user}")).status == 401
        rest = next(user for user in gone if user not in (moved, away))
        assert (await knock(third, f"token-{rest}")).status == 200


async def test_a_revocation_that_a_node_does_not_hear_ends_its_streams_all_the_same(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """Its connection is lost just then."""
    deaf, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(deaf, "42") as client:
        await eventually(lambda: marks(redis_server) == 1)
        main_host.be(refused=["token-42"])
        redis_server.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await revoke(other, "42")
        assert await client.wait_end() == "complete"
        assert json.loads(client.events[-1].data) == {"reason": "revoked"}
        assert (await knock(deaf, "token-42")).status == 401


@pytest.mark.parametrize(
    "difference",
    [{"redis.prefix": "staging"}, {"auth.main_host.path": "/v2/"}, {"redis.url": "/1"}],
    ids=["prefix", "main host", "database"],
)
async def test_two_installations_on_one_redis_trust_each_other_in_nothing(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer, difference: dict[str, str]
) -> None:
    """What one main host says of a token, the other one's nodes do not go by."""
    if "redis.url" in difference:
        difference = {"redis.url": f"{redis_server.url.rsplit('/', 1)[0]}/1"}
    one, other = await serve(SETTINGS), await serve({**SETTINGS, **difference})
    async with stream(one, "42"):
        await eventually(lambda: marks(redis_server) == 1)
        main_host.be(refused=["token-42"])
        assert (await knock(other, "token-42")).status == 401
        assert await one.terminate() == 0
        assert (await knock(other, "token-42")).status == 401
    assert await known(other) == 0
    assert (await knock(await serve(SETTINGS), "token-42")).status == 200


async def test_a_flood_of_made_up_tokens_fills_nothing(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    server = await serve({**SETTINGS, "auth.main_host.refusal_ttl": 0})
    main_host.be(refused=[f"token-x{number}" for number in range(300)])
    async with stream(server, "42"):
        for number in range(300):
            assert (await knock(server, f"token-x{number}")).status == 401
        await eventually(lambda: redis_server.cli("HLEN", "aionotify:auth{0}:numbers") > 200)
        assert len(records(redis_server)) == 1


async def test_in_redis_there_is_nothing_to_read_and_not_for_ever(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve({**SETTINGS, "auth.revalidate": 60})
    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(server, f"somebody-{user}"))
        await eventually(lambda: marks(redis_server) == len(USERS))
        with redis.Redis(port=redis_server.port, protocol=2) as client:
            for record in records(redis_server):
                assert 0 < client.ttl(record) <= 60
                text = repr((record, client.hgetall(record)))
                assert "token" not in text
                assert "somebody" not in text
        assert await server.terminate() == 0
    assert "token" not in "".join(server.logs)


async def test_a_redis_that_is_frozen_or_gone_keeps_nobody_out(
    serve: Serve, own_redis: RedisServer, main_host: HostProcess
) -> None:
    """Whoever has a token is asked about, and a node that leaves waits for nothing."""
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, user)) for user in USERS]
        own_redis.pause()
        before = asyncio.get_running_loop().time()
        assert (await knock(server, "token-somebody")).status == 200
        assert asyncio.get_running_loop().time() - before < 5
        own_redis.resume()
        own_redis.stop()
        assert (await knock(server, "token-else")).status == 200
        assert await server.terminate() == 0
        assert {await client.wait_end() for client in clients} == {"complete"}


async def test_whatever_somebody_has_put_there_keeps_nobody_out(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    redis_server.cli("SET", "aionotify:auth{0}:numbers", "x", "EX", 60)
    server = await serve(SETTINGS)
    assert (await knock(server, "token-42")).status == 200
    async with stream(server, "43"):
        assert await server.terminate() == 0
    await eventually(lambda: any("revocations cannot be read" in line for line in server.logs))
