"""A deploy, as the main host sees it: nobody is asked about who only moves from node to node."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from os import kill

from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, publish, received, stream

KEY = "publisher-key-0123456789"
SETTINGS = {"server.drain": 1, "admin.publish_keys": [KEY]}
LOG = "aionotify:control:log"
USERS = [str(number) for number in range(30)]


async def handed_over(server: NotifyServer) -> float:
    """How many were let in on what another node had known."""
    labels = {"source": "handed_over", "outcome": "accepted"}
    return await metric(server, "aionotify_auth_answers_total", **labels)


async def leaving(server: NotifyServer, client: SSEClient) -> None:
    """Have a node leave, and wait until it has ended the stream of `client`."""
    kill(server.pid, signal.SIGTERM)
    assert await client.wait_end() == "complete"
    assert client.events[-1].event == "aionotify.drain"


async def revoke(server: NotifyServer, user: str) -> None:
    assert (await ask(server, f"/streams/{user}", "DELETE", token=KEY)).status == 202


async def test_streams_go_from_node_to_node_and_nobody_is_asked(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """From one to the other, and on to a third one that has started since."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(one, user))
        assert await one.terminate() == 0
        for user in USERS:
            assert (await stack.enter_async_context(stream(other, user))).status == 200
        assert await handed_over(other) == len(USERS)
        third = await serve(SETTINGS)
        assert await other.terminate() == 0
        for user in USERS:
            client = await stack.enter_async_context(stream(third, user))
            publish(redis_server, {"recipient_id": user, "n": 1})
            assert await received(client, 1)
        assert await handed_over(third) == len(USERS)
    assert main_host.seen.about == {f"token-{user}": 1 for user in USERS}


async def test_streams_come_back_to_the_node_that_follows_and_nobody_is_asked(
    serve: Serve, main_host: HostProcess
) -> None:
    """As on a socket that stays: it starts when the one before has ended."""
    server = await serve({**SETTINGS, "server.workers": 2})
    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(server, user))
        assert await server.terminate() == 0
        asked = main_host.seen.about
        await server.start()
        for user in USERS:
            assert (await stack.enter_async_context(stream(server, user))).status == 200
    assert main_host.seen.about == asked


async def test_tabs_with_one_token_all_move(serve: Serve, main_host: HostProcess) -> None:
    """With a header or with a ticket, of which there has to be a new one."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(stream(one, "42"))
        assert await one.terminate() == 0
        for _ in range(5):
            assert (await stack.enter_async_context(stream(other, "42"))).status == 200
            answer = await ask(other, "/notify/ticket", "POST", token="token-42")
            query = f"?ticket={answer.json['ticket']}"
            client = SSEClient(f"{other.url}/notify{query}")
            assert (await stack.enter_async_context(client)).status == 200
    assert main_host.seen.about == {"token-42": 1}


async def test_who_has_moved_is_asked_about_when_it_is_time(
    serve: Serve, main_host: HostProcess
) -> None:
    settings = {**SETTINGS, "auth.revalidate": 4, "auth.main_host.cache_ttl": 0}
    one, other = await serve(settings), await serve(settings)
    async with stream(one, "42"):
        main_host.be(refused=["token-42"])
        assert await one.terminate() == 0
    async with stream(other, "42") as client:
        assert client.status == 200
        assert await client.wait_end() == "complete"
        assert client.events[-1].event == "aionotify.expired"
        assert (await knock(other, "token-42")).status == 401
    assert main_host.seen.about["token-42"] >= 2


async def test_who_is_revoked_while_a_node_leaves_gets_in_nowhere(
    serve: Serve, main_host: HostProcess
) -> None:
    """Neither where it was told, nor where it is read; and who has moved already is sent away."""
    settings = {**SETTINGS, "server.drain": 30}
    one, other = await serve(settings), await serve(settings)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(one, user)) for user in USERS]
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
        assert json.loads(clients[int(here)].events[-1].data) == {"reason": "revoked"}
        third = await serve(settings)
        kill(one.pid, signal.SIGTERM)  # a second time, so that it ends at once
        await one.wait()
        fourth = await serve(settings)
        for server in (other, third, fourth):
            for user in (moved, away, here):
                assert (await knock(server, f"token-{user}")).status == 401
        rest = next(user for user in gone if user not in (moved, away))
        for server in (other, third, fourth):
            assert (await knock(server, f"token-{rest}")).status == 200


async def test_a_node_that_is_killed_hands_over_nothing(
    serve: Serve, main_host: HostProcess
) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42"):
        await one.kill()
    assert (await knock(other, "token-42")).status == 200
    assert main_host.seen.about == {"token-42": 2}


async def test_in_redis_there_is_nothing_to_read_and_not_for_long(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve(SETTINGS)
    async with AsyncExitStack() as stack:
        for user in USERS:
            await stack.enter_async_context(stream(server, f"somebody-{user}"))
        assert await server.terminate() == 0
    assert "token" not in "".join(server.logs).replace("tokens=30", "")
    assert 0 < redis_server.cli("TTL", LOG) <= 62
    text = "".join(redis_server.cli("LRANGE", LOG, 0, -1))
    assert "handed_over" in text
    assert "token" not in text
    assert "somebody" not in text


async def test_whatever_is_forged_or_garbled_harms_nobody(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """Be it said, or read by a node that starts: what is good counts."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    nonsense = ['{"handed_over": "AAAA"}', '{"handed_over": 1}', "{}", '{"handed_over": ""}', "x"]
    async with stream(one, "42") as client:
        for each in nonsense:
            redis_server.cli("PUBLISH", "aionotify:control", each)
        await leaving(one, client)
        assert await one.wait() == 0
    for each in (*nonsense, *(f"1{zeros} {each}" for each in nonsense for zeros in ("", "0" * 99))):
        redis_server.cli("RPUSH", LOG, each)
        redis_server.cli("LPUSH", LOG, each)
    third = await serve(SETTINGS)
    for server in (other, third):
        assert (await knock(server, "token-42")).status == 200
        assert await handed_over(server) == 1
        dropped = {"kind": "unknown", "reason": "invalid"}
        assert await metric(server, "aionotify_events_dropped_total", **dropped) >= 4
    assert main_host.seen.about == {"token-42": 1}


async def test_a_redis_that_is_gone_holds_up_nobody(
    serve: Serve, own_redis: RedisServer, main_host: HostProcess
) -> None:
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, user)) for user in USERS]
        own_redis.stop()
        assert await server.terminate() == 0
        ends = await asyncio.gather(*(client.wait_end() for client in clients))
        assert set(ends) == {"complete"}
    assert any("could not hand over" in line for line in server.logs)
