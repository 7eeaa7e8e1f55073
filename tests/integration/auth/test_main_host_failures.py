"""A main host that is slow, down, flapping or lying, and what clients get to see of that."""

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Any

from tests.harness import NotifyServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import metric

QUICK = {"auth.main_host.timeout": 0.3, "auth.main_host.cache_ttl": 0}


def answer(body: str, status: str = "200 OK", *fields: str) -> str:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*head, "", body])


HEAD_10_MB = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
HEAD = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = "Location: http://127.0.0.1:1/steal"


LIES: dict[str, dict[str, Any]] = {
    "500": {"raw": answer("{", "500 Broken")},
    "404": {"raw": answer("{}", "404 Not Found")},
    "redirect elsewhere": {"raw": answer("", "302 Found", ELSEWHERE)},
    "redirect to itself": {"raw": answer("", "307 Found", "Location: /other")},
    "HTML": {"raw": answer("<html>Welcome!")},
    "nothing": {"raw": answer("")},
    "a list": {"raw": answer('["42"]')},
    "a list of users": {"raw": answer('{"user_id": ["42"]}')},
    "null": {"raw": answer('{"user_id": null}')},
    "true": {"raw": answer('{"user_id": true}')},
    "a fraction": {"raw": answer('{"user_id": 4.2}')},
    "empty": {"raw": answer('{"user_id": ""}')},
    "everyone": {"raw": answer('{"user_id": "*"}')},
    "a control character": {"raw": answer('{"user_id": "a\\nb"}')},
    "half a character": {"raw": answer('{"user_id": "\\ud800"}')},
    "a long id": {"raw": answer('{"user_id": "%s"}' % ("x" * 257))},
    "a long number": {"raw": answer('{"user_id": %s}' % ("9" * 60_000))},
    "no number": {"raw": answer('{"user_id": 1, "expires_in": "soon"}')},
    "deep": {"raw": answer("[" * 60_000)},
    "10 MB": {"raw": HEAD_10_MB, "endless": " " * 10_000},
    "never-ending": {"raw": HEAD, "endless": "400\r\n" + " " * 1024 + "\r\n"},
    "not gzip": {"raw": answer("{}", "200 OK", "Content-Encoding: gzip")},
    "not HTTP": {"raw": "SSH-2.0-OpenSSH_9.2\r\n"},
    "cut short": {"raw": "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"},
}


async def test_nonsense_lets_nobody_in_and_refuses_nobody(
    serve: Serve, main_host: HostProcess
) -> None:
    """And nothing of it is remembered, no redirect followed."""
    server = await serve({"auth.main_host.timeout": 2})
    for name, lie in LIES.items():
        main_host.be(**lie)
        token = f"token-{name.replace(' ', '-')}"
        reply = await knock(server, token)
        assert (name, reply.status, reply.code) == (name, 502, "auth_failed")
        assert 1 <= reply.retry_after <= 30
        assert "www-authenticate" not in reply.headers
        main_host.be(raw="", endless="")
        await eventually(partial(gets_in, server, token))
    assert main_host.seen.asked <= 3 * len(LIES)


async def gets_in(server: NotifyServer, token: str) -> bool:
    return (await knock(server, token)).status == 200


async def test_a_main_host_that_drips_has_its_time_and_no_more(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve(QUICK)
    main_host.be(raw=HEAD, endless="1\r\n \r\n")
    started = time.monotonic()
    reply = await knock(server, "token-42")
    assert (reply.status, reply.code) == (504, "auth_unavailable")
    assert time.monotonic() - started < 3
    assert reply.retry_after >= 1


async def test_a_main_host_that_is_slow_or_down_is_504_and_never_a_refusal(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve(QUICK)
    main_host.be(delay=5)
    slow = await knock(server, "token-42")
    main_host.down()
    down = await knock(server, "token-42")
    for reply in (slow, down):
        assert (reply.status, reply.code) == (504, "auth_unavailable")
        assert reply.retry_after >= 1
        assert "www-authenticate" not in reply.headers
    main_host.be(delay=0)
    main_host.up()
    await eventually(lambda: gets_in(server, "token-42"))


async def test_with_one_that_hangs_all_wait_together_and_not_one_after_the_other(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({**QUICK, "auth.main_host.max_concurrency": 2})
    main_host.be(delay=30)
    started = time.monotonic()
    replies = await asyncio.gather(*(knock(server, f"token-{number}") for number in range(40)))
    assert {reply.code for reply in replies} == {"auth_unavailable"}
    assert time.monotonic() - started < 5  # 40 timeouts, two at a time, are 6
    assert main_host.seen.asked < 10
    assert await metric(server, "aionotify_main_host_breaker_open") == 1


async def test_those_who_are_known_come_back_while_it_is_down_but_not_for_ever(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({**QUICK, "auth.main_host.stale_if_error": 2})
    async with SSEClient(f"{server.url}/notify", token="token-42") as client:
        known_since = time.monotonic()
        main_host.down()
        await client.reconnect()
        assert client.status == 200
        assert (await knock(server, "token-43")).status == 504

        async def no_more() -> bool:
            return (await knock(server, "token-42")).status == 504

        assert client.end is None  # it is not about streams that are open
    # While one is open, an answer opens others for `auth.revalidate` seconds.
    await eventually(no_more)
    assert time.monotonic() - known_since >= 1.9


async def test_a_refusal_is_401_with_a_challenge(serve: Serve, main_host: HostProcess) -> None:
    server = await serve()
    for number, refusal in enumerate(("401 Unauthorized", "403 Forbidden")):
        main_host.be(raw=answer('{"user_id": "42"}', refusal))
        reply = await knock(server, f"token-{number}")
        assert (reply.status, reply.code) == (401, "invalid_token")
        assert reply.headers["www-authenticate"] == "Bearer"
        assert "retry-after" not in reply.headers


async def test_a_refused_token_does_not_come_back_while_the_main_host_is_down(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({**QUICK, "auth.main_host.refusal_ttl": 0})
    assert (await knock(server, "token-42")).status == 200
    main_host.be(refused=["token-42"])
    assert (await knock(server, "token-42")).status == 401
    main_host.down()
    assert (await knock(server, "token-42")).status == 504


async def test_flapping_is_never_a_refusal_and_those_who_try_again_get_in(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve(QUICK)
    main_host.be(failing=2)
    codes: Counter[str] = Counter()

    async def try_until_in(token: str) -> None:
        while (reply := await knock(server, token)).status != 200:
            codes[reply.code] += 1
            assert reply.retry_after >= 1

    async with asyncio.timeout(20):
        await asyncio.gather(*(try_until_in(f"token-{number}") for number in range(30)))
    assert codes
    assert set(codes) <= {"auth_failed", "auth_unavailable"}


async def test_a_bad_token_that_is_repeated_costs_one_question(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"auth.main_host.refusal_ttl": 60})
    replies = await asyncio.gather(*(knock(server, "bad") for _ in range(20)))
    replies += [await knock(server, "bad") for _ in range(100)]
    assert {reply.status for reply in replies} == {401}
    assert main_host.seen.about == {"bad": 1}
    labels = {"source": "cache", "outcome": "refused"}
    assert await metric(server, "aionotify_auth_answers_total", **labels) >= 100


async def test_main_host_is_asked_again_when_the_refusal_is_old(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"auth.main_host.refusal_ttl": 0.5})
    main_host.be(refused=["token-42"])
    assert (await knock(server, "token-42")).status == 401
    main_host.be(refused=[])
    await eventually(lambda: gets_in(server, "token-42"))
    assert main_host.seen.about == {"token-42": 2}


async def test_main_host_gets_the_token_and_nothing_else_of_the_client(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve()
    await knock(
        server,
        "token-42",
        "?secret=query",
        Cookie="session=biscuit",
        X_Forwarded_For="203.0.113.9",
        User_Agent="curious",
        Last_Event_ID="1.2.3",
        Origin="https://app.example",
    )
    head = main_host.seen.head
    names = [line.partition(":")[0] for line in head.split("\r\n")[1:-2]]
    assert head.startswith("GET /api/v1/is_user_auth/ HTTP/1.1\r\n")
    assert sorted(names) == ["Accept", "Accept-Encoding", "Authorization", "Host", "User-Agent"]
    assert not [word for word in ("query", "biscuit", "203.0", "curious", "1.2.3") if word in head]
