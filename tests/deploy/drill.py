"""A deploy of the size that matters: see ``scripts/deploy-drill --help``."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.deploy.node import Node
from tests.deploy.proxies import Caddy, HAProxy, Nginx, certify
from tests.deploy.rollout import Rollout, tabs_and_browsers
from tests.harness import MainHost, RedisServer

_PROXIES = {"nginx": Nginx, "haproxy": HAProxy, "caddy": Caddy}


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/deploy-drill",
        description="Restarts nodes behind a proxy, one after the other, while browsers watch.",
        epilog="Fails when a client sees anything but a reconnect, and when the main host or Redis"
        " is asked more than twice as often as normal in any second of the deploy.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    number = parser.add_argument
    number("--streams", type=int, default=5000, help="each of another user")
    number("--tabs", type=int, default=5, help="streams per browser")
    number("--rate", type=float, default=300, help="durable events per second, to users in turn")
    number("--broadcasts", type=float, default=0.1, help="events per second to everyone")
    number("--drain", type=float, help="server.drain (60, or 5 with --one-node)")
    number("--revalidate", type=float, default=120, help="auth.revalidate")
    number("--calm", type=float, default=60, help="seconds in which normal is measured")
    number("--proxy", choices=list(_PROXIES), default="nginx", help="what is in front")
    parser.add_argument(
        "--one-node", action="store_true", help="one, on a socket that stays, in place of two"
    )
    parser.add_argument(
        "--kill", action="store_true", help="nodes are killed, which Redis may feel"
    )
    given = parser.parse_args(argv)
    if given.drain is None:
        given.drain = 5 if given.one_node else 60
    return given


async def _drill(given: argparse.Namespace, directory: Path, redis: RedisServer) -> Rollout:
    trust = certify(directory)
    with MainHost() as main_host:
        settings = {
            "redis.url": redis.url,
            "auth.main_host.url": main_host.url,
            "server.drain": given.drain,
            "auth.revalidate": given.revalidate,
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
            # They come over as long as a token is good for, as they will be asked about from then
            # on: were all asked about within seconds, there would be no normal to measure.
            tabs, browsers = tabs_and_browsers(
                proxy.port, trust, given.streams, given.tabs, given.revalidate
            )
            rollout = Rollout(
                tabs, browsers, redis, main_host, given.rate, given.broadcasts, kill=given.kill
            )
            await rollout.run(nodes, calm=given.calm)
            return rollout


def main() -> int:
    """Report what it cost whom; 1 if anybody saw more than a reconnect, or that was too much."""
    given = _arguments()
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as redis:
        rollout = asyncio.run(_drill(given, Path(name), redis))
    sys.stdout.write(f"{rollout.described()}\n")
    # Clients of a node that is killed all come back at once, and each has to subscribe and read.
    spared = {"Redis"} if given.kill else set()
    too_much = any(times > 2 for name, times in rollout.multiples().items() if name not in spared)
    return int(
        bool(rollout.wrong()) or any(code not in (0, -9) for code in rollout.codes) or too_much
    )


if __name__ == "__main__":
    raise SystemExit(main())
