"""What clients get from the proxies while no node takes their streams."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from aionotify.streams.response import HEADERS
from tests.deploy.browsers import HOST
from tests.deploy.proxies import Caddy, HAProxy, Nginx, Proxy
from tests.harness import MainHost, Mode, NotifyServer, RedisServer, eventually
from tests.integration.talk import metric

ORIGIN = {"Origin": "https://shop.example"}


class Front:
    """What a client sees through a proxy."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @asynccontextmanager
    async def ask(
        self, token: str | None = None, path: str = "/notify", method: str = "GET", **headers: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._session.request(
            method, path, headers=headers, server_hostname=HOST
        ) as response:
            yield response

    async def status(self, token: str | None = None, path: str = "/notify") -> int:
        async with self.ask(token, path) as response:
            return response.status

    async def tells_when_to_come_back(self) -> bool:
        """Whether it is 200, `retry:` and an end, which a page of any origin may read."""
        async with self.ask("token-2", **ORIGIN) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == HEADERS["Content-Type"]
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            body = await response.text()
        async with self.ask("token-2") as response:
            assert "Access-Control-Allow-Origin" not in response.headers
        return re.fullmatch(r"retry: 3\d{3}\n", body) is not None


@asynccontextmanager
async def front_of(
    node: NotifyServer, proxy: type[Proxy], directory: Path, trust: ssl.SSLContext
) -> AsyncIterator[Front]:
    trust.set_alpn_protocols(["http/1.1"])
    async with (
        proxy(directory, [int(node.url.rpartition(":")[2])]) as front,
        aiohttp.ClientSession(
            f"https://127.0.0.1:{front.port}",
            connector=aiohttp.TCPConnector(ssl=trust),
            headers={"Host": HOST},
        ) as session,
    ):
        yield Front(session)


@pytest.mark.parametrize("proxy", [Nginx, HAProxy, Caddy])
async def test_a_client_that_nobody_takes_is_told_when_to_come_back(
    proxy: type[Proxy],
    redis_server: RedisServer,
    main_host: MainHost,
    trust: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """For many any status but 200 would be final; a refusal is, and is passed on.

    No ticket is in a log.
    """
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "auth.main_host.stale_if_error": 0,
        "server.max_streams": 1,
    }
    async with (
        NotifyServer(settings) as node,
        front_of(node, proxy, tmp_path, trust) as front,
    ):
        assert await front.status() == 403
        assert await front.status("nobody") == 401
        main_host.mode = Mode.ERROR
        assert await front.tells_when_to_come_back()
        main_host.mode = Mode.OK
        async with front.ask("token-1") as response:
            assert b"retry: 3000\n" in await response.content.readuntil(b"\n\n")
            assert await front.tells_when_to_come_back()  # as the node is full

        async def is_there_room() -> bool:
            return await metric(node, "aionotify_streams") == 0

        await eventually(is_there_room)
        async with front.ask("token-2") as response:
            assert b"aionotify.open" in await response.content.readuntil(b"\n\n")
        assert await node.terminate() == 0
        assert await front.tells_when_to_come_back()  # as there is no node
        assert await front.status(path="/notify?ticket=secret") == 200
        async with front.ask("token-2", "/notify/ticket", "POST") as response:
            assert response.status in (502, 503, 504)
            assert "event-stream" not in response.content_type
    logs = [path.read_text("utf-8") for path in tmp_path.glob("*.log")]
    assert any("/notify" in log for log in logs)
    assert not any("secret" in log for log in logs)
