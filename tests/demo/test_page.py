"""What the demo adds to the server, and who may use it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from aionotify import Client
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.config import RedisConfig
from aionotify.demo import page
from aionotify.demo.world import World
from aionotify.telemetry.logs import bare

EVENT = {"recipient_id": "alice", "event": "test", "data": 1}


@pytest.fixture
async def session(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.url) as session:
        yield session


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_page_has_what_its_script_needs(
    world: World, session: aiohttp.ClientSession
) -> None:
    async with session.get("/") as answer:
        text = await answer.text()
        assert answer.content_type == "text/html"
    found = re.search(r'<script type="application/json" id="settings">(.*?)</script>', text)
    assert found is not None
    settings = json.loads(found[1])
    assert settings["key"] == world.key
    assert settings["users"][0] == {"user": "alice", "token": "alice-token"}
    for name in re.findall(r'"static/([^"]+)"', text):
        async with session.get(f"/static/{name}") as answer:
            assert answer.status == 200
            assert world.key not in await answer.text()


async def test_page_has_nothing_from_elsewhere_and_sends_nothing_there(
    session: aiohttp.ClientSession,
) -> None:
    async with session.get("/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "http" not in (await answer.text()).partition("<body>")[2]
    assert "default-src 'none'" in policy
    assert set(re.findall(r"-src ([^;]+)", policy)) == {"'none'", "'self'"}
    assert "frame-ancestors 'none'" in policy


async def test_settings_cannot_end_the_element_that_they_are_in() -> None:
    execute = Endpoint(RedisConfig()).commands("writes").execute
    [index, *_] = page.routes({"x": "</script><script>alert(1)</script>"}, execute)
    answer = await index.handler(None)  # type: ignore[arg-type]
    assert isinstance(answer, web.Response)
    assert "alert(1)</script>" not in str(answer.text)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8001", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8001", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8001", 421),
        ("localhost@evil.example", 421),
        ("localhost:x", 421),
        ("127.0.0.2", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/", "/static/demo.js", "/healthz"])
async def test_only_the_machines_own_names_are_answered(
    path: str, host: str, status: int, session: aiohttp.ClientSession
) -> None:
    """A site whose name was made to mean 127.0.0.1 gets neither the page nor a stream."""
    async with session.get(path, headers={"Host": host}) as answer:
        assert answer.status == status


async def test_a_stream_is_not_opened_under_another_name(session: aiohttp.ClientSession) -> None:
    headers = bearer("alice-token") | {"Host": "evil.example"}
    async with session.get("/notify", headers=headers) as answer:
        assert answer.status == 421


@pytest.mark.parametrize("path", ["/publish", "/demo/ephemeral"])
@pytest.mark.parametrize(("token", "status"), [(None, 403), ("alice-token", 401)])
async def test_without_the_key_nobody_publishes(
    path: str, token: str | None, status: int, session: aiohttp.ClientSession
) -> None:
    headers = bearer(token) if token else {}
    async with session.post(path, json=EVENT, headers=headers) as answer:
        assert answer.status == status


async def test_another_site_gets_no_leave_to_send_the_key(session: aiohttp.ClientSession) -> None:
    """Its script would need a preflight's yes to send the header, and CORS to read the page."""
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    for path in ("/demo/ephemeral", "/publish", "/"):
        async with session.options(path, headers=headers) as answer:
            assert answer.status >= 400
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_ephemeral_event_of_the_page_arrives_and_is_not_kept(
    world: World, session: aiohttp.ClientSession
) -> None:
    token = world.tokens["alice"]
    async with Client(f"{world.url}/notify", token=token) as client:
        start = await anext(client)
        async with session.post("/demo/ephemeral", json=EVENT, headers=bearer(world.key)) as answer:
            assert (answer.status, await answer.json()) == (202, {"nodes": 1})
        event = await anext(client)
        assert (event.type, json.loads(event.data)) == ("test", EVENT)
        assert event.id == start.id


async def test_a_bad_event_is_refused_with_the_reason(
    world: World, session: aiohttp.ClientSession
) -> None:
    async with session.post("/demo/ephemeral", json={}, headers=bearer(world.key)) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["fields"] == {"recipient_id": "is missing"}


@pytest.mark.parametrize("name", ["..%2f__init__.py", "index.html", "x"])
async def test_only_the_files_of_the_page_are_served(
    name: str, session: aiohttp.ClientSession
) -> None:
    async with session.get(f"/static/{name}") as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer alice-token", 200),
        ("bearer bob-token", 200),
        ("Bearer carol-token", 401),
        ("Basic alice-token", 401),
        ("", 401),
    ],
)
async def test_the_main_host_knows_two_users(authorization: str, status: int, world: World) -> None:
    headers = {"Authorization": authorization}
    async with (
        aiohttp.ClientSession(world.main_host_url) as session,
        session.get("/api/v1/is_user_auth/", headers=headers) as answer,
    ):
        assert answer.status == status


async def test_a_malformed_request_is_counted_and_not_quoted(
    world: World, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """To the server and to the main host; each closes the connection."""
    for url in (world.url, world.main_host_url):
        caplog.clear()
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /?ticket=secret HTTP/1.1\r\nContent-Length: secret\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
        writer.close()
        [record] = caplog.records
        assert (bare(record), record.exc_info) == ("malformed request", None)
        assert "secret" not in repr(vars(record))
    async with session.get("/metrics") as answer:
        assert 'aionotify_requests_refused_total{code="malformed"} 1.0' in await answer.text()
