"""A deploy, seen by browsers behind a proxy: they reconnect, and nothing else happens to them."""

import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.deploy.node import Node
from tests.deploy.proxies import Caddy, HAProxy, Nginx, Proxy
from tests.deploy.rollout import Rollout, tabs_and_browsers
from tests.harness import MainHost, RedisServer


@pytest.mark.parametrize(
    ("proxy", "count", "streams", "kill", "handed"),
    [
        pytest.param(Nginx, 2, 200, False, False, id="nginx, two nodes"),
        pytest.param(Nginx, 1, 60, False, True, id="nginx, one node on a socket that stays"),
        pytest.param(Nginx, 1, 60, False, False, id="nginx, the only node"),
        pytest.param(HAProxy, 2, 60, False, False, id="haproxy, two nodes"),
        pytest.param(HAProxy, 1, 60, False, False, id="haproxy, the only node"),
        pytest.param(Caddy, 2, 60, False, False, id="caddy, two nodes"),
        pytest.param(Caddy, 1, 60, False, False, id="caddy, the only node"),
        pytest.param(Nginx, 2, 60, True, False, id="nginx, two nodes that are killed"),
        pytest.param(Caddy, 1, 60, True, False, id="caddy, the only node, killed"),
    ],
)
async def test_a_deploy_loses_and_doubles_nothing(
    proxy: type[Proxy],
    count: int,
    streams: int,
    kill: bool,
    handed: bool,
    own_redis: RedisServer,
    main_host: MainHost,
    trust: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    settings = {
        "redis.url": own_redis.url,
        "auth.main_host.url": main_host.url,
        "server.drain": 2,
        "server.trusted_proxies": ["127.0.0.1"],
        "stream.retry": 500,
    }
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(Node(settings, handed=handed)) for _ in range(count)
        ]
        for node in nodes:
            await node.start()
        front = await stack.enter_async_context(proxy(tmp_path, [node.port for node in nodes]))
        tabs, browsers = tabs_and_browsers(front.port, trust, streams)
        missed = count == 1 and not handed
        rollout = Rollout(tabs, browsers, own_redis, main_host, 100, kill=kill, missed=missed)
        await rollout.run(nodes)
        assert not rollout.wrong(), rollout.described() + front.log()
        assert rollout.codes == [-9 if kill else 0] * count
        assert all(tab.ends for tab in tabs), "some were on no node that restarted"
        assert all(tab.seen["*"] for tab in tabs)
        assert sum(tab.opened - 1 for tab in tabs) >= streams
        assert rollout.deploy.total("questions") == 0, (
            "the main host was asked about what was known"
        )
