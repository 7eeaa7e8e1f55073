"""The shop's page: what is in it, and who may have it."""

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from aionotify.demo import main_host, page
from aionotify.demo.world import USERS, World
from aionotify.telemetry.logs import bare

SERVER = "http://127.0.0.1:8001"
Pages = TestClient[web.Request, web.Application]


@pytest.fixture
async def pages(aiohttp_client: Callable[[web.Application], Awaitable[Pages]]) -> Pages:
    """The pages and the main host's answer, without what they are pages of."""
    app = web.Application(middlewares=[page.local_only])
    app.add_routes(page.routes({"x": "</script><script>alert(1)</script>"}, ["alice"], SERVER))
    app.add_routes(main_host.routes(USERS))
    return await aiohttp_client(app)


async def test_the_page_has_what_its_script_needs(world: World) -> None:
    async with aiohttp.ClientSession(world.shop_url) as session:
        for path in ("/", "/alice", "/bob"):
            async with session.get(path) as answer:
                text = await answer.text()
                assert answer.content_type == "text/html"
            found = re.search(r'<script type="application/json" id="settings">(.*?)</script>', text)
            assert found is not None
            settings = json.loads(found[1])
            assert settings["key"] == world.key
            assert settings["server"] == world.url
            assert settings["users"][0] == {"user": "alice", "token": "alice-token"}
            assert settings["products"][0] == {"id": "lamp", "name": "Desk lamp", "price": 4900}
            for name in re.findall(r'"static/([^"]+)"', text):
                async with session.get(f"/static/{name}") as answer:
                    assert answer.status == 200
                    assert world.key not in await answer.text()


async def test_page_has_nothing_from_elsewhere_and_sends_nothing_there(pages: Pages) -> None:
    """But to the notification server."""
    async with pages.get("/") as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "http" not in (await answer.text()).partition("<body>")[2]
    assert "default-src 'none'" in policy
    assert set(re.findall(r"-src ([^;]+)", policy)) == {"'none'", "'self'", f"'self' {SERVER}"}
    assert "frame-ancestors 'none'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy


async def test_settings_cannot_end_the_element_that_they_are_in(pages: Pages) -> None:
    async with pages.get("/alice") as answer:
        assert "alert(1)</script>" not in await answer.text()


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
@pytest.mark.parametrize("path", ["/", "/static/demo.js"])
async def test_only_the_machines_own_names_are_answered(
    path: str, host: str, status: int, pages: Pages
) -> None:
    """A site whose name was made to mean 127.0.0.1 gets no page, and no key with it."""
    async with pages.get(path, headers={"Host": host}) as answer:
        assert answer.status == status


def test_text_has_contrast_enough_in_light_and_dark() -> None:
    """Of at least 4.5 to 1, and the edges of fields of 3 (WCAG 2.2, 1.4.3 and 1.4.11)."""
    css = (Path(page.__file__).parents[1] / "web/static/demo.css").read_text("utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", css))
        for css in css.partition("* { box-sizing")[0].split("prefers-color-scheme: dark", 1)
    )
    assert {"text", "quiet", "accent"} <= dark.keys()
    for colours in (light, light | dark):
        for backgrounds, texts in (
            ("card page sunken raised accent-soft", "text quiet"),
            ("card page accent-soft", "accent"),
            ("card page", "bad"),
            ("card warn-soft", "warn"),
            ("accent", "on-accent"),
        ):
            for background, text in itertools.product(backgrounds.split(), texts.split()):
                found = contrast(colours[background], colours[text])
                assert found >= 4.5, f"{text} on {background}"
        assert contrast(colours["edge"], colours["card"]) >= 3


def contrast(*colours: str) -> float:
    """Of two colours; WCAG 2.2, "contrast ratio" and "relative luminance"."""
    luminances = []
    for colour in colours:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        luminances.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    darker, lighter = sorted(luminances)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("name", ["..%2f__init__.py", "demo.html", "aionotify.js", "x"])
async def test_only_the_files_of_the_page_are_served(name: str, pages: Pages) -> None:
    async with pages.get(f"/static/{name}") as answer:
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
async def test_the_main_host_knows_two_users(authorization: str, status: int, pages: Pages) -> None:
    headers = {"Authorization": authorization}
    async with pages.get("/api/v1/is_user_auth/", headers=headers) as answer:
        assert answer.status == status


async def test_only_the_shops_page_may_read_streams(world: World) -> None:
    """Under either of its names; and no other site may ask the shop for anything."""
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    by_name = world.shop_url.replace("127.0.0.1", "localhost")
    async with aiohttp.ClientSession() as session:
        for origin, allowed in (
            (world.shop_url, world.shop_url),
            (by_name, by_name),
            ("http://localhost:1", None),
        ):
            headers = asked | {"Origin": origin}
            async with session.options(f"{world.url}/notify", headers=headers) as answer:
                assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            async with session.options(f"{world.shop_url}/orders", headers=headers) as answer:
                assert answer.status >= 400
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_malformed_request_is_counted_and_not_quoted(
    world: World, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """To the server and to the main host; each closes the connection."""
    for url in (world.url, world.shop_url):
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /?ticket=secret HTTP/1.1\r\nContent-Length: secret\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
        writer.close()
    [record] = caplog.records
    assert (bare(record), record.exc_info) == ("malformed request", None)
    assert "secret" not in repr(vars(record))
    async with aiohttp.ClientSession() as session, session.get(f"{world.url}/metrics") as answer:
        assert 'aionotify_requests_refused_total{code="malformed"} 1.0' in await answer.text()
    assert "secret" not in capfd.readouterr().err
