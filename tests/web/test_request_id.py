"""Every answer has an id, and the log has the same."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from aionotify import Config, Identity, create_app
from aionotify.telemetry.logs import bare
from tests.harness import RedisServer, SSEClient, eventually


class Broken:
    """An authenticator that lets everybody in but one, for whom it has a bug."""

    async def authenticate(self, request: web.Request) -> Identity:
        if request.query.get("user") == "bug":
            raise ZeroDivisionError
        return Identity("42")


@pytest.fixture
async def url(redis_server: RedisServer) -> AsyncIterator[str]:
    origin = "https://app.example.com"
    config = {"redis": {"url": redis_server.url}, "cors": {"origins": [origin]}}
    app = create_app(Config.from_mapping(config), Broken())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def answered(url: str, given: str | None, **headers: str) -> aiohttp.ClientResponse:
    if given is not None:
        headers["X-Request-ID"] = given
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        return response


@pytest.mark.parametrize("path", ["/readyz", "/publish", "/nowhere", "/presence"])
async def test_an_answer_or_refusal_has_the_id_that_was_given(url: str, path: str) -> None:
    response = await answered(url + path, "4bf92f3577b34da6a3ce929d0e0e4736")
    assert response.headers.getall("X-Request-ID") == ["4bf92f3577b34da6a3ce929d0e0e4736"]


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "<script>", "ü", "a\tb", "a,b"])
async def test_an_id_that_is_not_sane_is_replaced(url: str, given: str | None) -> None:
    first = (await answered(f"{url}/readyz", given)).headers["X-Request-ID"]
    second = (await answered(f"{url}/readyz", given)).headers["X-Request-ID"]
    assert len(first) == len(second) == 16
    assert first != second


async def test_a_page_of_another_origin_may_read_it(url: str) -> None:
    response = await answered(f"{url}/readyz", None, Origin="https://app.example.com")
    assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"].split(", ")


def records(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The fields of each message that was logged."""
    return {bare(record): getattr(record, "fields", {}) for record in caplog.records}


async def test_a_stream_has_it_from_its_first_line_in_the_log_to_its_last(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with SSEClient(f"{url}/notify", headers={"X-Request-ID": "mine"}) as client:
        assert client.headers["x-request-id"] == "mine"
    await eventually(lambda: "stream closed" in records(caplog))
    assert records(caplog)["stream opened"]["request"] == "mine"
    assert records(caplog)["stream closed"]["request"] == "mine"


async def test_a_failure_of_ours_can_be_found_by_what_the_client_was_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await answered(f"{url}/notify?user=bug", None)
    assert response.status == 500
    assert records(caplog)["request failed"]["request"] == response.headers["X-Request-ID"]
