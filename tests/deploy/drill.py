"""A deploy of the size that matters: see ``scripts/deploy-drill --help``."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.deploy.node import Node
from tests.deploy.proxies import HAProxy, Nginx, certify
from tests.deploy.rollout import Rollout, tabs_and_browsers
from tests.harness import MainHost, RedisServer

_PROXIES = {"nginx": Nginx, "haproxy": HAProxy}


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/deploy-drill",
        description="Restarts nodes behind a proxy, one after the other, while browsers watch.",
    )
    parser.add_argument("--streams", type=int, default=5000, help="(default %(default)s)")
    parser.add_argument("--tabs", type=int, default=5, help="per browser (default %(default)s)")
    parser.add_argument("--rate", type=float, default=300, help="events/s (default %(default)s)")
    parser.add_argument(
        "--broadcasts", type=float, default=0.2, help="and to everyone (default %(default)s)"
    )
    parser.add_argument("--drain", type=float, default=60, help="seconds (default %(default)s)")
    parser.add_argument("--calm", type=float, default=10, help="seconds before that is begun")
    parser.add_argument("--proxy", choices=list(_PROXIES), default="nginx")
    parser.add_argument(
        "--one-node", action="store_true", help="one, on a socket that stays, in place of two"
    )
    return parser.parse_args(argv)


async def _drill(given: argparse.Namespace, directory: Path, redis: RedisServer) -> Rollout:
    trust = certify(directory)
    with MainHost() as main_host:
        settings = {
            "redis.url": redis.url,
            "auth.main_host.url": main_host.url,
            "server.drain": given.drain,
        }
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(Node(settings, handed=given.one_node))
                for _ in range(1 if given.one_node else 2)
            ]
            for node in nodes:
                await node.start()
            proxy = _PROXIES[given.proxy](
                directory, [node.port for node in nodes], 3 * given.streams + 1000
            )
            await stack.enter_async_context(proxy)
            tabs, browsers = tabs_and_browsers(proxy.port, trust, given.streams, given.tabs)
            rollout = Rollout(tabs, browsers, redis, main_host, given.rate, given.broadcasts)
            await rollout.run(nodes, calm=given.calm)
            return rollout


def main() -> int:
    """Report what it cost whom; 1 if anybody saw more than a reconnect."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as redis:
        rollout = asyncio.run(_drill(given, Path(name), redis))
    sys.stdout.write(f"{rollout.described()}\n")
    return int(bool(rollout.wrong()) or any(rollout.codes))


if __name__ == "__main__":
    raise SystemExit(main())
