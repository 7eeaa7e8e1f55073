"""Revocations that a node did not hear, or that Redis did not keep: what becomes of its streams."""

import json
from collections.abc import Mapping

import pytest

from tests.auth.jwt_tokens import claims, forge
from tests.embedded import embedded
from tests.harness import NotifyServer, RedisServer, SSEClient, TcpProxy, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask, stream

KEY = "publisher-key-0123456789"
SECRET = "a shared secret of 32 characters"
REVOKED = "aionotify:auth{0}:revoked"
EPOCH = "aionotify:epoch"
BASE = {"admin.publish_keys": [KEY], "server.drain": 1}
JWT = {
    **BASE,
    "auth.method": "jwt",
    "auth.jwt.key": SECRET,
    "auth.jwt.algorithms": ["HS256"],
}
# As short as it can be, so that it is over soon.
BRIEFLY = {"auth.revalidate": 1, "auth.ticket_ttl": 1, "auth.main_host.stale_if_error": 0}


def by_jwt(server: NotifyServer, user: str) -> SSEClient:
    token = forge({"alg": "HS256"}, claims(sub=user), SECRET.encode())
    return SSEClient(f"{server.url}/notify", token=token)


async def revoke(server: NotifyServer, user: str) -> None:
    answer = await ask(server, f"/streams/{user}", "DELETE", token=KEY)
    assert answer.status == 202


async def is_heard(server: NotifyServer) -> bool:
    return bool((await ask(server, "/readyz")).json["checks"]["redis"]["ok"])


async def is_deaf(server: NotifyServer) -> bool:
    return not await is_heard(server)


async def ended_by(client: SSEClient) -> tuple[str, str]:
    assert await client.wait_end() == "complete"
    last = client.events[-1]
    return last.event, json.loads(last.data)["reason"]


REVOCATION = ("aionotify.expired", "revoked")
DRAIN = ("aionotify.drain", "drain")


async def test_a_node_that_was_cut_off_ends_the_streams_of_whom_it_did_not_hear(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Also by JWT, about which nobody is asked again; and of nobody else."""
    other = await serve(JWT)
    async with TcpProxy(redis_server.port) as proxy:
        deaf = await serve({**JWT, "redis.url": proxy.url})
        async with by_jwt(deaf, "42") as client, by_jwt(deaf, "7") as bystander:
            await proxy.refuse()
            await eventually(lambda: is_deaf(deaf))
            await revoke(other, "42")
            await proxy.restore()
            assert await ended_by(client) == REVOCATION
            assert bystander.end is None
        await deaf.terminate()


async def test_a_node_that_was_cut_off_for_longer_than_that_is_kept_ends_all_as_a_drain_does(
    serve: Serve, redis_server: RedisServer
) -> None:
    """By JWT: anybody may have been revoked, and asking again would not find out."""
    settings = {**JWT, **BRIEFLY}
    other = await serve(settings)
    async with TcpProxy(redis_server.port) as proxy:
        deaf = await serve({**settings, "redis.url": proxy.url})
        async with by_jwt(deaf, "42") as client, by_jwt(deaf, "7") as bystander:
            await proxy.refuse()
            await eventually(lambda: is_deaf(deaf))
            await revoke(other, "42")
            await eventually(lambda: not redis_server.cli("EXISTS", REVOKED))
            await proxy.restore()
            for each in (client, bystander):
                assert await ended_by(each) == DRAIN
            await bystander.reconnect()
            assert bystander.status == 200
        await eventually(lambda: any("revocations missed" in line for line in deaf.logs))
        await deaf.terminate()


async def test_a_node_that_was_cut_off_while_nobody_was_revoked_ends_nothing(
    serve: Serve, redis_server: RedisServer
) -> None:
    """However long, and though somebody had been revoked before."""
    settings = {**JWT, **BRIEFLY}
    async with TcpProxy(redis_server.port) as proxy:
        deaf = await serve({**settings, "redis.url": proxy.url})
        async with by_jwt(deaf, "42") as client, by_jwt(deaf, "7") as before:
            await revoke(deaf, "7")
            assert await ended_by(before) == REVOCATION
            await proxy.refuse()
            await eventually(lambda: is_deaf(deaf))
            await eventually(lambda: not redis_server.cli("EXISTS", REVOKED))
            await proxy.restore()
            await eventually(lambda: is_heard(deaf))
            await revoke(deaf, "42")  # read after whatever was missed
            assert await ended_by(client) == REVOCATION
        await deaf.terminate()


async def test_by_the_main_host_streams_stay_and_it_is_asked_about_them_afresh(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """And no answer from before lets anybody in."""
    settings = {**BASE, "auth.revalidate": 86400, "auth.main_host.cache_ttl": 3600}
    server = await serve(settings)
    async with stream(server, "42") as client:
        asked = main_host.seen.about["token-42"]
        assert (await knock(server, "token-42")).status == 200
        assert main_host.seen.about["token-42"] == asked
        main_host.be(refused=["token-42"])
        redis_server.cli("FLUSHALL")

        async def is_refused() -> bool:
            return (await knock(server, "token-42")).status == 401

        await eventually(is_refused)
        assert client.end is None


async def test_a_node_that_finds_another_data_set_ends_all_as_a_drain_does(
    serve: Serve, redis_server: RedisServer
) -> None:
    """By JWT: whoever was revoked is not known there."""
    server = await serve(JWT)
    async with by_jwt(server, "42") as client:
        redis_server.cli("FLUSHALL")
        assert await ended_by(client) == DRAIN
        await client.reconnect()
        assert client.status == 200
        await eventually(lambda: redis_server.cli("EXISTS", EPOCH))
        await revoke(server, "42")
        assert await ended_by(client) == REVOCATION


async def test_with_an_authenticator_of_ones_own_another_data_set_ends_all_as_well(
    redis_server: RedisServer,
) -> None:
    async with embedded(redis_server.url) as (url, _), stream(url, "42") as client:
        redis_server.cli("FLUSHALL")
        assert await ended_by(client) == DRAIN
        told = [event.event for event in client.events]
        assert told == ["aionotify.open", "aionotify.gap", "aionotify.drain"]


@pytest.mark.parametrize(
    ("settings", "longest"),
    [
        ({"auth.revalidate": 400, "auth.main_host.stale_if_error": 0}, 400),
        ({"auth.revalidate": 100, "auth.main_host.stale_if_error": 400.5}, 401),
        ({**BRIEFLY, "auth.ticket_ttl": 400}, 400),
        ({**JWT, "auth.revalidate": 400, "auth.main_host.stale_if_error": 0}, 400),
    ],
)
async def test_a_revocation_is_kept_for_as_long_as_anything_is_relied_on(
    serve: Serve, redis_server: RedisServer, settings: Mapping[str, object], longest: int
) -> None:
    """Whatever users are identified by."""
    server = await serve({**BASE, **settings})
    await revoke(server, "42")
    assert longest - 10 < redis_server.cli("TTL", REVOKED) <= longest


async def test_a_redis_that_stores_nothing_tells_connected_nodes_and_the_answer_says_so(
    serve: Serve, own_redis: RedisServer
) -> None:
    """503 all the same: whoever is not connected just then will not get to know."""
    one, other = [await serve({**JWT, "redis.url": own_redis.url}) for _ in range(2)]
    async with by_jwt(one, "42") as here, by_jwt(other, "42") as there:
        own_redis.cli("CONFIG", "SET", "maxmemory", 1)
        answer = await ask(one, "/streams/42", "DELETE", token=KEY)
        assert (answer.status, answer.code) == (503, "redis_unavailable")
        assert answer.headers["Retry-After"] == "1"
        error = answer.json["error"]
        assert error["nodes"] == 2
        assert error["message"].startswith("2 connected nodes were told, but Redis keeps nothing")
        for client in (here, there):
            assert await ended_by(client) == REVOCATION
        own_redis.cli("CONFIG", "SET", "maxmemory", 0)
        await revoke(one, "42")
