"""DELETE /streams/{user_id}: nobody whose rights are gone goes on listening."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest
from aiohttp import web

from aionotify.events.cursor import Cursor
from aionotify.streams.recipient import Recipient
from aionotify.streams.start_position import StartPositions
from tests.embedded import embedded
from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import ask, received, stream

KEY = "publisher-key-0123456789"
KEYS = {"admin.publish_keys": [KEY], "server.max_streams_per_user": 0}


async def revoke(server: NotifyServer, user_id: str) -> object:
    answer = await ask(server, f"/streams/{quote(user_id, safe='')}", "DELETE", token=KEY)
    assert answer.status == 202
    return answer.json


async def is_revoked(client: SSEClient) -> bool:
    """Whether the stream ends because its user may no longer listen."""
    assert await client.wait_end() == "complete"
    last = client.events[-1]
    return (last.event, json.loads(last.data)) == ("aionotify.expired", {"reason": "revoked"})


@BOTH_WAYS
async def test_streams_of_the_user_all_end_on_every_node_within_a_second(
    serve: Serve, main_host: HostProcess
) -> None:
    """And the token is asked about anew, although it was known on both."""
    one, other = await serve(KEYS), await serve(KEYS)
    async with (
        stream(one, "42") as a,
        stream(one, "42") as b,
        stream(other, "42") as c,
        stream(one, "43") as bystander,
        stream(other, "43"),
    ):
        assert main_host.seen.about == {"token-42": 2, "token-43": 2}  # once for each node
        main_host.be(refused=["token-42"])
        started = time.monotonic()
        assert await revoke(one, "42") == {"nodes": 2}
        for client in (a, b, c):
            assert await is_revoked(client)
        assert time.monotonic() - started < 1

        for server in (one, other):
            assert (await knock(server, "token-42")).status == 401
            assert (await knock(server, "token-43")).status == 200
        assert main_host.seen.about == {"token-42": 4, "token-43": 2}
        answer = await ask(one, "/publish", "POST", token=KEY, data=b'{"recipient_id": "43"}')
        assert answer.status == 202
        assert await received(bystander, 1)


async def test_a_user_whose_token_is_still_good_may_come_back(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve(KEYS)
    async with stream(server, "42") as client:
        await revoke(server, "42")
        assert await is_revoked(client)
        await client.reconnect()
        assert client.status == 200
        assert main_host.seen.about == {"token-42": 2}


async def test_an_answer_that_is_on_its_way_meanwhile_opens_no_stream(
    serve: Serve, main_host: HostProcess
) -> None:
    """The main host made up its mind before the token was revoked, and says so afterwards."""
    server = await serve(KEYS)
    main_host.be(delay=0.5)
    knocking = [asyncio.create_task(knock(server, "token-42")) for _ in range(5)]
    await eventually(lambda: main_host.seen.asked == 1)
    main_host.be(delay=0, refused=["token-42"])
    await revoke(server, "42")
    assert [reply.status for reply in await asyncio.gather(*knocking)] == [401] * 5


async def test_a_stream_that_is_about_to_open_does_not(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    find = StartPositions.find

    async def held(self: StartPositions, inboxes: Sequence[Recipient]) -> Cursor:
        reached.set()
        await go_on.wait()
        return await find(self, inboxes)

    monkeypatch.setattr(StartPositions, "find", held)
    async with embedded(redis_server.url) as (url, services):
        opening = asyncio.create_task(ask(url, token="token-42"))
        await reached.wait()
        services.hub.revoked("42")
        go_on.set()
        answer = await opening
        assert (answer.status, answer.code) == (401, "invalid_token")


@pytest.mark.parametrize("hand_over", [False, True])
async def test_a_stream_whose_response_is_being_prepared_meanwhile_ends(
    redis_server: RedisServer, hand_over: bool
) -> None:
    """An application's handlers may take as long as they like."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/notify":
            reached.set()
            await go_on.wait()

    def hold(app: web.Application) -> None:
        app.on_response_prepare.append(held)

    async with embedded(redis_server.url, hold, hand_over=hand_over) as (url, services):
        client = stream(url, "42")
        opening = asyncio.create_task(client.connect())
        await reached.wait()
        services.hub.revoked("42")
        go_on.set()
        await opening
        assert await is_revoked(client)
        await client.close()


STRANGE = [
    "a}:inbox",
    "{a}",
    "a{b",
    "}{",
    "%7Ba%7D",
    "a/b",
    "a%2Fb",
    "../streams",
    "a b",
    "a+b",
    "a:b",
    "control",
    "*a",
    "a?b=c",
    "a#b",
    "a;b",
    "a\\b",
    '"',
    "\u00fc\u20ac\U0001f600",
    "e\u0301",
    "\u00e9",
    "x" * 256,
]


async def test_revocation_takes_any_name_of_the_main_hosts_and_ends_nobody_else(
    serve: Serve, main_host: HostProcess
) -> None:
    main_host.be(answers={f"t{n}": {"user_id": name} for n, name in enumerate(STRANGE)})
    server = await serve(KEYS)
    async with AsyncExitStack() as stack:
        open_clients = {
            name: await stack.enter_async_context(SSEClient(f"{server.url}/notify", token=f"t{n}"))
            for n, name in enumerate(STRANGE)
        }
        while open_clients:
            name = next(iter(open_clients))
            client = open_clients.pop(name)
            assert client.status == 200
            await revoke(server, name)
            assert await is_revoked(client), name
            assert not any(other.end for other in open_clients.values()), name


async def test_a_name_that_cannot_be_a_user_is_400_and_ends_nothing(serve: Serve) -> None:
    server = await serve(KEYS)
    async with stream(server, "42") as client:
        for user_id in ("*", "%00", "a%0Ab", "%7F", "x" * 257):
            answer = await ask(server, f"/streams/{user_id}", "DELETE", token=KEY)
            assert (answer.status, answer.code) == (400, "invalid_event")
        assert client.end is None
