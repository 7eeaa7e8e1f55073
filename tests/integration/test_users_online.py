"""Who is online, page by page: asked of one node, true for all."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.docs.snippets import snippet
from tests.harness import MainHost, NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.api import SCOPED, SETTINGS, Api
from tests.integration.conftest import Serve
from tests.integration.talk import stream

TOLD = json.loads(snippet("docs/presence.rst", '"next"'))


@asynccontextmanager
async def online(server: NotifyServer, *users: str) -> AsyncIterator[None]:
    """A stream of each of them."""
    async with AsyncExitStack() as stack:
        for user in users:
            await stack.enter_async_context(stream(server, user))
        yield


async def page(api: Api, **query: object) -> Any:
    """One to which all nodes have contributed: on a busy machine one may be too late."""

    async def whole() -> Any:
        answer = await api.listed(**query)
        assert answer.status == 200, answer
        return answer.body if not answer.body["silent"] else None

    return await eventually(whole)


async def pages(api: Api, **query: object) -> list[list[str]]:
    found = [await page(api, **query)]
    while (cursor := found[-1]["next"]) is not None:
        found.append(await page(api, **query, cursor=cursor))
    return [each["users"] for each in found]


async def test_pages_name_the_users_of_all_nodes_once_and_in_order(
    serve: Serve, main_host: MainHost
) -> None:
    main_host.answers = {
        f"token-{token}": {"user_id": user}
        for token, user in {"s1": "shop:1", "s10": "shop:10", "e": "é"}.items()
    }
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with online(one, "b", "s1", "a", "c", "c"), online(other, "c", "e", "d", "s10"):
        for api in (Api(one), Api(other)):
            everybody = ["a", "b", "c", "d", "shop:1", "shop:10", "é"]
            found = await page(api)
            assert found == {
                "users": everybody,
                "next": None,
                "nodes": 2,
                "silent": 0,
                "count": {"users": 7, "streams": 9, "exact": True},
            }
            assert found.keys() == TOLD.keys()
            assert found["count"].keys() == TOLD["count"].keys()
            assert await pages(api, limit=3) == [everybody[:3], everybody[3:6], everybody[6:]]
            assert await pages(api, limit=7) == [everybody]
            assert await pages(api, limit=1, prefix="shop:") == [["shop:1"], ["shop:10"]]
            assert (await page(api, cursor="c"))["users"] == everybody[3:]
            assert (await page(api, cursor="c"))["count"] is None
            assert (await page(api, prefix="x"))["users"] == []


async def test_a_key_that_is_for_some_users_is_told_of_these_alone(
    serve: Serve, main_host: MainHost
) -> None:
    """Whom it asks about, how many there are, and where the next page begins."""
    main_host.answers = {f"token-s{n}": {"user_id": f"shop:{n}"} for n in (1, 2)}
    server = await serve(SETTINGS)
    async with online(server, "a", "s1", "s2", "z"):
        found = await page(Api(server, SCOPED), limit=2)
        assert (found["users"], found["next"]) == (["shop:1", "shop:2"], None)
        assert found["count"] == {"users": 2, "streams": 2, "exact": True}
        assert (await page(Api(server, SCOPED), cursor="a"))["users"] == ["shop:1", "shop:2"]


async def test_who_stays_is_on_a_page_whoever_comes_and_goes_meanwhile(serve: Serve) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    staying = [f"user-{number:02}" for number in range(0, 40, 2)]
    others = [f"user-{number:02}" for number in range(1, 40, 2)]

    async def come_and_go() -> None:
        while True:
            async with stream(random.choice((one, other)), random.choice(others)):
                pass

    async with online(one, *staying[:10]), online(other, *staying[10:]):
        moving = [asyncio.create_task(come_and_go()) for _ in range(4)]
        try:
            for _ in range(5):
                found = [user for users in await pages(Api(one), limit=3) for user in users]
                assert found == sorted(set(found))
                assert set(staying) <= set(found) <= {*staying, *others}
        finally:
            for task in moving:
                task.cancel()
            await asyncio.gather(*moving, return_exceptions=True)


async def test_a_page_says_how_many_nodes_did_not_answer(serve: Serve) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with online(one, "a"), online(other, "b"):
        os.kill(other.pid, signal.SIGSTOP)
        try:
            found = (await Api(one).listed()).body
            assert (found["users"], found["nodes"], found["silent"]) == (["a"], 2, 1)
        finally:
            os.kill(other.pid, signal.SIGCONT)
        assert (await page(Api(one)))["users"] == ["a", "b"]


async def test_a_node_that_was_killed_is_asked_no_more(serve: Serve) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with online(one, "a"):
        client = SSEClient(f"{other.url}/notify", token="token-b")
        await client.connect()
        os.kill(other.pid, signal.SIGKILL)

        async def alone() -> bool:
            found = await page(Api(one))
            return bool(found["nodes"] == 1 and found["users"] == ["a"])

        await eventually(alone)
        await client.close()


async def test_without_redis_there_is_no_page(serve: Serve, own_redis: RedisServer) -> None:
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    own_redis.stop()
    answer = await Api(server).listed()
    assert (answer.status, answer.body["error"]["code"]) == (503, "redis_unavailable")
