"""How many streams there may be, of whom, and how fast: what one too many is told."""

import asyncio
from contextlib import AsyncExitStack

from tests.harness import NotifyServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import Reply, knock
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import ask, metric, stream

LOOPBACK = {"server.trusted_proxies": ["127.0.0.0/8"]}
PROXY_ELSEWHERE = {"server.trusted_proxies": ["10.0.0.0/8"]}


async def refused(server: NotifyServer, code: str) -> float:
    return await metric(server, "aionotify_requests_refused_total", code=code)


def is_refusal(reply: Reply, status: int, code: str) -> bool:
    assert reply.retry_after >= 1
    assert "www-authenticate" not in reply.headers
    return (reply.status, reply.code) == (status, code)


@BOTH_WAYS
async def test_one_stream_too_many_of_a_user_is_429_until_another_has_ended(serve: Serve) -> None:
    server = await serve({"server.max_streams_per_user": 2})
    async with stream(server, "42") as first, stream(server, "42"):
        assert is_refusal(await knock(server, "token-42"), 429, "too_many_streams")
        assert (await knock(server, "token-43")).status == 200
        assert await refused(server, "too_many_streams") == 1
        await first.close()

        async def has_room() -> bool:
            return (await knock(server, "token-42")).status == 200

        await eventually(has_room)


async def test_those_who_race_for_the_last_place_do_not_all_get_it(serve: Serve) -> None:
    server = await serve({"server.max_streams_per_user": 3})
    clients = [stream(server, "42") for _ in range(30)]
    await asyncio.gather(*(client.connect() for client in clients))
    statuses = [client.status for client in clients]
    assert (statuses.count(200), statuses.count(429)) == (3, 27)
    await asyncio.gather(*(client.close() for client in clients))


async def test_one_stream_too_many_of_a_process_is_503_and_costs_the_main_host_nothing(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"server.max_streams": 3})
    async with AsyncExitStack() as stack:
        for number in range(3):
            await stack.enter_async_context(stream(server, str(number)))
        for token in ("token-42", "token-1", "bad"):
            assert is_refusal(await knock(server, token), 503, "node_full")
        answer = await ask(server, "/notify/ticket", "POST", token="token-42")
        assert (answer.status, answer.code) == (503, "node_full")
        assert (await ask(server, "/notify", "HEAD", token="token-42")).status == 503
        assert await refused(server, "node_full") == 5
        assert main_host.seen.asked == 3
    assert (await ask(server, "/healthz")).status == 200


async def test_an_address_has_its_streams_and_cannot_make_up_another(
    serve: Serve, main_host: HostProcess
) -> None:
    """What a client puts in front of what our proxy writes is no other address."""
    server = await serve({**LOOPBACK, "server.max_streams_per_address": 2})

    def client(user: str, forwarded: str) -> SSEClient:
        return stream(server, user, headers={"X-Forwarded-For": forwarded})

    async with client("1", "203.0.113.1"), client("2", "198.51.100.7, 203.0.113.1"):
        asked = main_host.seen.asked
        for spoofed in (
            "203.0.113.1",
            "1.1.1.1, 203.0.113.1",
            "127.0.0.1,203.0.113.1:99",
            "x,::ffff:203.0.113.1",
        ):
            reply = await knock(server, "token-3", X_Forwarded_For=spoofed)
            assert is_refusal(reply, 429, "too_many_streams")
        assert main_host.seen.asked == asked
        assert await refused(server, "too_many_streams") == 4
        assert (await knock(server, "token-3", X_Forwarded_For="203.0.113.2")).status == 200


async def test_a_trusted_proxy_alone_says_who_else_it_is(serve: Serve) -> None:
    server = await serve(
        {"server.trusted_proxies": ["10.0.0.0/8"], "server.max_streams_per_address": 1}
    )
    async with stream(server, "1"):
        for forwarded in ("203.0.113.1", "10.0.0.1"):
            reply = await knock(server, "token-2", X_Forwarded_For=forwarded)
            assert is_refusal(reply, 429, "too_many_streams")


async def test_those_who_are_not_let_in_take_no_place_for_long(serve: Serve) -> None:
    server = await serve({"server.max_streams_per_address": 1, "server.max_streams": 1})
    for _ in range(5):
        assert (await knock(server, "bad")).status == 401
    assert (await knock(server, "token-42")).status == 200


async def test_more_handshakes_than_a_second_may_have_are_503_whatever_they_are_for(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"server.handshake_rate": 4})
    replies = [await knock(server, f"token-{number}") for number in range(20)]
    let_in = [reply for reply in replies if reply.status == 200]
    assert 4 <= len(let_in) <= 4 + 8  # a burst, and what two seconds allow
    for reply in replies:
        assert reply.status == 200 or is_refusal(reply, 503, "node_full")
    assert main_host.seen.asked == len(let_in)
    assert await refused(server, "node_full") == 20 - len(let_in)

    async def head() -> bool:
        return (await ask(server, "/notify", "HEAD", token="token-1")).status == 503

    async def ticket() -> bool:
        return (await ask(server, "/notify/ticket", "POST", token="token-1")).status == 503

    for others in (head, ticket):
        await eventually(others, interval=0)

    async def later() -> bool:
        return (await knock(server, "token-1")).status == 200

    await eventually(later, interval=0.3)
