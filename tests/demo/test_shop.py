"""What the shop does for its page: orders, messages, announcements, and the server's end."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from aionotify import Client, Config, Publisher
from aionotify.demo import shop
from aionotify.demo.server_process import ServerProcess
from aionotify.demo.world import USERS, World
from tests.harness import eventually


@pytest.fixture(autouse=True)
def _ships_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "_SHIPPING", 0.05)


@pytest.fixture
async def session(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.shop_url) as session:
        yield session


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a Redis that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def post(
    session: aiohttp.ClientSession, path: str, token: str, body: object
) -> tuple[int, Any]:
    async with session.post(path, json=body, headers=bearer(token)) as answer:
        return answer.status, await answer.json()


def as_alice(world: World, last_event_id: str = "") -> Client:
    return Client(f"{world.url}/notify", token="alice-token", last_event_id=last_event_id)


async def heard(client: Client, count: int) -> list[dict[str, Any]]:
    """The next published events."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while len(events) < count:
            event = await anext(client)
            if not event.type.startswith("aionotify."):
                events.append(json.loads(event.data))
    return events


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_an_order_is_confirmed_and_then_shipped_to_its_customer(
    world: World, session: aiohttp.ClientSession
) -> None:
    async with as_alice(world) as alice:
        await anext(alice)
        began = time.time() * 1000
        assert await post(session, "/orders", "alice-token", {"product": "lamp"}) == (
            201,
            {"order": 1001},
        )
        confirmed, shipped = await heard(alice, 2)
    assert [each["event"] for each in (confirmed, shipped)] == ["order.confirmed", "order.shipped"]
    assert confirmed["data"] == {"order": 1001, "text": "Desk lamp, order 1001"}
    assert [each["recipient_id"] for each in (confirmed, shipped)] == ["alice"] * 2
    assert began - 1 <= confirmed["sent_at"] <= shipped["sent_at"]
    assert confirmed["id"] != shipped["id"]


async def test_a_message_says_from_whom_it_is_and_an_announcement_is_for_everyone(
    world: World, session: aiohttp.ClientSession
) -> None:
    async with as_alice(world) as alice:
        await anext(alice)
        message = {"to": "alice", "text": " <b>Tea?</b>", "from": "eve"}
        assert await post(session, "/messages", "bob-token", message) == (201, {})
        assert await post(session, "/announcements", world.key, {"text": "Sale"}) == (201, {})
        first, second = await heard(alice, 2)
    assert first["data"] == {"from": "bob", "text": " <b>Tea?</b>"}
    assert (second["recipient_id"], second["data"]) == ("*", {"text": "Sale"})


async def test_what_cannot_be_done_is_refused_with_the_reason(
    world: World, session: aiohttp.ClientSession
) -> None:
    lamp = {"product": "lamp"}
    for path, token, body, status, message in (
        ("/orders", "alice-token", {"product": "car"}, 404, "there is no such product"),
        ("/orders", "carol-token", lamp, 401, "sign in first"),
        ("/orders", world.key, lamp, 401, "sign in first"),
        ("/orders", "alice-token", {}, 400, "Object missing required field `product`"),
        ("/orders", "alice-token", ["secret"], 400, "Expected `object`, got `array`"),
        ("/messages", "bob-token", {"to": "eve", "text": "x"}, 404, "there is no such customer"),
        ("/messages", "bob-token", {"to": "alice", "text": " "}, 400, "write something first"),
        (
            "/messages",
            "bob-token",
            {"to": "alice", "text": "x" * 501},
            400,
            "that is 501 characters, and 500 fit",
        ),
        ("/announcements", "alice-token", {"text": "x"}, 401, "only the shop may do that"),
        ("/announcements", world.key, {"text": 7}, 400, "Expected `str`, got `int` - at `$.text`"),
        ("/server/kill", "alice-token", {}, 401, "only the shop may do that"),
        ("/server/restart", "\udce9", {}, 401, "only the shop may do that"),
    ):
        found, answer = await post(session, path, token, body)
        assert (found, answer["error"]["message"]) == (status, message), path
    async with session.post("/orders", data=b"\xff", headers=bearer("alice-token")) as answer:
        assert answer.status == 400
    async with session.post("/server/kill", json={}) as answer:  # as a form of another site could
        assert answer.status == 401


@pytest.mark.parametrize("does", ["restart", "kill"])
async def test_what_is_published_while_the_server_is_down_arrives_after_it(
    does: str, world: World, session: aiohttp.ClientSession
) -> None:
    async with as_alice(world) as alice:
        await anext(alice)
        async with session.get("/server") as answer:
            before = (await answer.json())["pid"]
        change = asyncio.create_task(post(session, f"/server/{does}", world.key, {}))
        await eventually(partial(gone, before))
        assert (await post(session, "/orders", "alice-token", {"product": "plant"}))[0] == 201
        status, after = await change
        assert (status, after["pid"] != before) == (200, True)
        events = [each["event"] for each in await heard(alice, 2)]
        assert events == ["order.confirmed", "order.shipped"]


async def test_a_server_comes_back_though_who_killed_it_has_gone(
    world: World, session: aiohttp.ClientSession
) -> None:
    """Until then nobody else can end it."""
    async with session.get("/server") as found:
        before = (await found.json())["pid"]
    kill = asyncio.create_task(post(session, "/server/kill", world.key, {}))
    await eventually(partial(gone, before))
    kill.cancel()
    await asyncio.wait([kill])
    status, answer = await post(session, "/server/restart", world.key, {})
    assert (status, answer["error"]["code"]) == (409, "server_busy")
    async with as_alice(world) as alice, asyncio.timeout(20):
        assert (await anext(alice)).type == "aionotify.open"


async def test_a_redis_that_does_not_answer_is_told_and_not_waited_for(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "_PUBLISH_TIMEOUT", 0.2)
    app = web.Application(middlewares=[shop.answering])
    async with Publisher(silent) as publisher:
        server = ServerProcess(Config(), [])
        app.add_routes(shop.Shop(publisher, server, USERS, "key").routes())
        async with TestClient(TestServer(app)) as client:
            headers = bearer("alice-token")
            async with client.post("/orders", json={"product": "lamp"}, headers=headers) as answer:
                assert answer.status == 503
                assert (await answer.json())["error"]["message"] == "Redis does not answer"
            async with client.get("/server") as answer:
                assert await answer.json() == {"pid": None}
