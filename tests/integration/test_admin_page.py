"""The operator's page: what it is told, by whom, and who may ask."""

import json
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
import redis
from aiohttp import web

import aionotify
from aionotify import Config
from tests.harness import MainHost, NotifyServer, RedisServer, eventually, free_port
from tests.integration.conftest import Serve
from tests.integration.talk import ask, publish, received, stream

ALL, ADMIN, PUBLISH = "every-right-0123456789", "only-admin-0123456789", "no-admin-0123456789"
SHOP = "admin-of-the-shop-0123456789"
SHOP_PAGE, OTHER_PAGE = "https://shop.example", "https://evil.example"
SETTINGS: Mapping[str, object] = {
    "admin.publish_keys": [
        {"key": ALL, "rights": ["publish", "presence", "revoke", "admin"]},
        {"key": ADMIN, "rights": ["admin"]},
        {"key": SHOP, "rights": ["admin", "revoke"], "recipients": "shop:"},
        PUBLISH,
    ],
    "cors.origins": [SHOP_PAGE],
}
FILES = ("/admin", "/admin/admin.js", "/admin/admin.css", "/admin/bell.svg")
ASKED = ("/admin/nodes", "/admin/streams?user_id=42")


async def told(server: NotifyServer, path: str = "/admin/nodes", token: str = ALL) -> Any:
    """What is answered, by as many nodes as were asked: on a busy machine one may be too late."""

    async def whole() -> Any:
        found = await told_at_once(server, path, token)
        return found if found["asked"] <= len(found["nodes"]) else None

    return await eventually(whole)


async def told_at_once(server: NotifyServer, path: str = "/admin/nodes", token: str = ALL) -> Any:
    answer = await ask(server, path, token=token)
    assert answer.status == 200, answer.body
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


async def streams_of(server: NotifyServer, user: str) -> list[Any]:
    found = await told(server, f"/admin/streams?user_id={quote(user, safe='')}")
    return [each for node in found["nodes"] for each in node["streams"]]


async def test_each_node_tells_of_all(serve: Serve, redis_server: RedisServer) -> None:
    """Whichever is asked, with what each counts itself."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42") as first, stream(one, "7"), stream(other, "42") as last:
        publish(redis_server, {"recipient_id": "42"})
        for client in (first, last):
            await received(client, 1)
        await ask(other, "/nowhere")
        for server in (one, other):
            found = await told(server)
            assert (found["asked"], found["problem"]) == (2, None)
            nodes = {int(node["node"].rpartition("/")[2]): node for node in found["nodes"]}
            assert set(nodes) == {one.pid, other.pid}
            mine, theirs = nodes[one.pid], nodes[other.pid]
            assert (mine["streams"], mine["users"], mine["delivered"]) == (2, 2, 1)
            assert (theirs["streams"], theirs["users"], theirs["delivered"]) == (1, 1, 1)
            assert (mine["refused"], theirs["refused"]) == ({}, {"not_found": 1})
            assert mine["problems"] == theirs["problems"] == {}
    assert redis_server.cli("KEYS", "*:inspection:*") == []

    async def probed() -> bool:
        return all(node["redis_probe_seconds"] > 0 for node in (await told(one))["nodes"])

    await eventually(probed)


async def test_workers_tell_each_of_itself(serve: Serve) -> None:
    server = await serve({**SETTINGS, "server.workers": 2}, timeout=30)

    async def both() -> bool:
        found = await told(server)
        return {node["worker"] for node in found["nodes"]} == {0, 1}

    await eventually(both)


async def test_a_users_streams_are_found_on_every_node(serve: Serve) -> None:
    """With the position that each client has, by which it could go on."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42") as first, stream(other, "42") as last, stream(one, "7"):
        event = json.dumps({"recipient_id": "42"}).encode()
        assert (await ask(one, "/publish", "POST", token=ALL, data=event)).status == 202
        for client in (first, last):
            await received(client, 1)
        found = await streams_of(other, "42")
        assert [each["user_id"] for each in found] == ["42", "42"]
        assert {each["position"] for each in found} == {
            client.events[-1].id for client in (first, last)
        }
        assert all(each["live"] and each["events"] == 1 for each in found)
        assert all(each["buffered_bytes"] == 0 for each in found)
        assert await streams_of(one, "nobody") == []


async def test_a_reader_that_takes_nothing_is_among_the_slow(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve(SETTINGS)
    async with stream(server, "42", receive_buffer=4096) as client, stream(server, "7"):
        client.stall()

        async def slow() -> Any:
            publish(redis_server, {"recipient_id": "42", "data": "x" * 50_000})
            [node] = (await told(server))["nodes"]
            return node["dropped"] and node["slow_streams"]

        [found] = await eventually(slow)
        assert found["user_id"] == "42"
        assert found["buffered_bytes"] > 0
        [same] = await streams_of(server, "42")
        assert same["since"] == pytest.approx(found["since"], abs=1)
        assert same["buffered_bytes"] > 0
        # Who may know of others only is told how much it is, and not whose.
        [node] = (await told(server, token=SHOP))["nodes"]
        assert (node["streams"], node["slow_streams"]) == (2, [])
        assert node["buffered_bytes"] > 0


async def test_a_node_that_hangs_is_missing_and_holds_up_nobody(serve: Serve) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    os.kill(other.pid, signal.SIGSTOP)
    try:
        found = await told_at_once(one)
        assert found["asked"] == 2
        assert [node["node"].rpartition("/")[2] for node in found["nodes"]] == [str(one.pid)]
    finally:
        os.kill(other.pid, signal.SIGCONT)

    async def both() -> bool:
        return len((await told_at_once(one))["nodes"]) == 2

    await eventually(both)


async def test_answers_that_are_none_are_passed_over(
    serve: Serve, redis_server: RedisServer
) -> None:
    """As of a node of another version."""
    server = await serve(SETTINGS)
    with redis.Redis(port=redis_server.port, protocol=2) as client, client.pubsub() as pubsub:
        pubsub.subscribe(**{"aionotify:control": lambda message: _nonsense(client, message)})
        pubsub.get_message(timeout=5)
        thread = pubsub.run_in_thread(sleep_time=0.01)
        try:
            found = await told_at_once(server)
        finally:
            thread.stop()
            thread.join()
    assert found["asked"] == 2
    assert len(found["nodes"]) == 1


def _nonsense(client: "redis.Redis", message: Any) -> None:
    if question := json.loads(message["data"]).get("question"):
        name = f"aionotify:inspection:{question['name']}"
        client.rpush(name, '{"node": 5}')
        client.expire(name, 10)


async def test_while_redis_does_not_answer_a_node_tells_of_itself(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({**SETTINGS, "redis.url": own_redis.url})
    async with stream(server, "42"):
        own_redis.stop()
        await eventually(lambda: _is_not_heard(server))
        found = await told(server)
        assert found["asked"] == 0
        assert found["problem"]
        [node] = found["nodes"]
        assert node["streams"] == 1
        assert len(await streams_of(server, "42")) == 1


async def _is_not_heard(server: NotifyServer) -> bool:
    [node] = (await told(server))["nodes"]
    return "redis" in node["problems"]


async def test_ending_streams_takes_both_rights(serve: Serve) -> None:
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    path = "/admin/streams?user_id=42"
    async with stream(one, "42") as first, stream(other, "42") as last:
        answer = await ask(one, path, "DELETE", token=ADMIN)
        assert answer.status == 403
        assert "'revoke'" in answer.json["error"]["message"]
        answer = await ask(one, path, "DELETE", token=PUBLISH)
        assert answer.status == 403
        assert "'admin'" in answer.json["error"]["message"]
        assert (await ask(one, path, "DELETE", token=SHOP)).status == 403
        assert first.end is None
        answer = await ask(one, path, "DELETE", token=ALL)
        assert (answer.status, answer.json) == (202, {"nodes": 2})
        for client in (first, last):
            assert await client.wait_end() == "complete"


@pytest.mark.parametrize(
    "query", ["", "?user=42", "?user_id=", "?user_id=*", "?user_id=42&user_id=7", "?user_id=%01"]
)
async def test_nobody_or_everybody_or_two_are_no_user(serve: Serve, query: str) -> None:
    server = await serve(SETTINGS)
    for method in ("GET", "DELETE"):
        answer = await ask(server, f"/admin/streams{query}", method, token=ALL)
        assert (answer.status, answer.code) == (400, "invalid_event")
    assert (await ask(server, f"/admin/streams?user_id={'4' * 257}", token=ALL)).status == 400


async def test_without_a_key_that_has_the_right_there_is_no_page(serve: Serve) -> None:
    """Not even from this machine."""
    without = await serve({"admin.publish_keys": [PUBLISH]})
    for path in (*FILES, *ASKED):
        for token in (None, PUBLISH):
            answer = await ask(without, path, token=token)
            assert (answer.status, answer.code) == (404, "not_found")
    server = await serve(SETTINGS)
    for path in FILES:
        assert (await ask(server, path)).status == 200
    for path in ASKED:
        answers = [await ask(server, path, token=token) for token in (None, PUBLISH, "wrong" * 4)]
        assert [(answer.status, answer.code) for answer in answers] == [
            (403, "credentials_missing"),
            (403, "forbidden"),
            (401, "invalid_token"),
        ]
    assert (await ask(server, "/admin/streams?user_id=42", token=SHOP)).status == 403
    assert (await ask(server, "/admin/streams?user_id=shop:1", token=SHOP)).status == 200
    assert (await ask(server, f"/admin/nodes?key={ALL}")).status == 403


@pytest.mark.parametrize("origin", [SHOP_PAGE, OTHER_PAGE, "null"])
async def test_a_page_of_another_origin_may_not_even_with_the_key(
    serve: Serve, origin: str
) -> None:
    """Nor may one that may open streams: it is not allowed to send the header."""
    server = await serve(SETTINGS)
    asking = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x"}
    async with stream(server, "42") as client:
        for path in ASKED:
            answer = await ask(server, path, "OPTIONS", headers={"Origin": origin, **asking})
            assert answer.status == 405
            assert "Access-Control-Allow-Headers" not in answer.headers
            for method in ("GET", "DELETE") if "streams" in path else ("GET",):
                answer = await ask(server, path, method, token=ALL, headers={"Origin": origin})
                assert (answer.status, answer.code) == (403, "forbidden")
        assert client.end is None
        own = {"Origin": server.url}
        assert (await ask(server, ASKED[1], "DELETE", token=ALL, headers=own)).status == 202


async def test_the_page_runs_nothing_but_its_own_script(serve: Serve) -> None:
    server = await serve(SETTINGS)
    for path in FILES:
        headers = (await ask(server, path)).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


async def test_on_a_port_of_its_own_the_public_one_has_no_page(serve: Serve) -> None:
    port = free_port()
    server = await serve({**SETTINGS, "admin.port": port})
    admin = f"http://127.0.0.1:{port}"
    for path in (*FILES, *ASKED):
        assert (await ask(server, path, token=ALL)).status == 404
        assert (await ask(admin, path, token=ALL)).status == 200


async def test_the_right_comes_and_goes_with_a_reload(serve: Serve, tmp_path: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({"admin": {"publish_keys": [PUBLISH]}}))
    server = await serve(file=file)
    assert (await ask(server, "/admin")).status == 404
    file.write_text(json.dumps({"admin": {"publish_keys": [{"key": ALL, "rights": ["admin"]}]}}))
    server.reload()

    async def there() -> bool:
        return (await ask(server, "/admin")).status == 200

    await eventually(there)


@pytest.mark.parametrize("admin", [False, True])
async def test_an_applications_own_page_is_hidden_only_if_it_asks_for_ours(
    redis_server: RedisServer, main_host: MainHost, admin: bool
) -> None:
    """With a prefix both are there."""
    key = {"key": ALL, "rights": ["admin"] if admin else ["publish"]}
    config = Config.from_mapping(
        {
            "redis": {"url": redis_server.url},
            "auth": {"main_host": {"url": main_host.url}},
            "admin": {"publish_keys": [key]},
        }
    )
    async with AsyncExitStack() as stack:
        for prefix, ours in (("", admin), ("/push", False)):
            app = web.Application()
            aionotify.setup(app, config, prefix=prefix)
            app.router.add_get("/admin", _own_page)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            assert (b"own page" in (await ask(url, "/admin")).body) is not ours
            if prefix:
                assert (await ask(url, "/push/admin")).status == (200 if admin else 404)


async def _own_page(request: web.Request) -> web.Response:
    return web.Response(text="the application's own page")
