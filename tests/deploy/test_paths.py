"""What the proxies' configurations let through."""

import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.browsers import HOST
from tests.deploy.proxies import Caddy, HAProxy, Nginx, Proxy
from tests.harness import NotifyServer, RedisServer


@pytest.mark.parametrize("proxy", [Nginx, HAProxy, Caddy])
async def test_browsers_reach_the_stream_and_the_module_and_nothing_else(
    proxy: type[Proxy], redis_server: RedisServer, trust: ssl.SSLContext, tmp_path: Path
) -> None:
    trust.set_alpn_protocols(["http/1.1"])
    connector = aiohttp.TCPConnector(ssl=trust)
    async with (
        NotifyServer({"redis.url": redis_server.url}) as node,
        proxy(tmp_path, [int(node.url.rpartition(":")[2])]) as front,
        aiohttp.ClientSession(
            f"https://127.0.0.1:{front.port}", connector=connector, headers={"Host": HOST}
        ) as session,
    ):

        async def status(path: str) -> int:
            async with session.get(path, server_hostname=HOST) as response:
                return response.status

        async with session.get("/notify/client.js", server_hostname=HOST) as response:
            named = f"/notify/{response.headers['Content-Location']}"
            assert response.status == 200
        assert await status(named) == 200
        assert await status("/notify") == 403  # without a token
        assert await status("/notify/ticket") == 405
        assert await status("/inbox?limit=1") == 403
        assert await status("/inbox/read") == 405
        for path in (
            "/inbox/",
            "/inbox/all.00000000000002",
            "/publish",
            "/metrics",
            "/notify/client.js/x",
            "/notify/clientxjs",
            "/",
        ):
            assert await status(path) == 404, path
