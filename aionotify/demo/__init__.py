"""``aionotify demo``: everything that belongs to it, on this machine, for a look.

With ``--check`` nobody has to look: it publishes in every way there is, and says who got what.
"""

import argparse
import asyncio
from dataclasses import replace

from aionotify.config import Config
from aionotify.demo.world import Ports
from aionotify.telemetry import logs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the ports, and whether a person is there."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="publish in every way there is, check who got it, and exit with 0 or 1",
    )
    for flag, does, default in (
        ("--port", "of the server and its page", "8001"),
        ("--main-host-port", "of the stub main host", "8000"),
        ("--redis-port", "of the bundled Redis", "6380, or another if that is taken"),
    ):
        parser.add_argument(
            flag,
            type=_port,
            metavar="PORT",
            help=f"port {does} (default {default}; with --check a free one); 0 takes any free one",
        )


def run(args: argparse.Namespace, config: Config) -> int:
    """Run the demo until Ctrl-C or SIGTERM, or with ``--check`` until all is checked."""
    # Imported here, so that --help and a usage error do not wait for it.
    from aionotify.demo import check, screen

    # On a terminal that shows what to type next, only what is wrong is worth a line.
    logs.configure("warning", config.log.format)
    usual = Ports(0, 0, 0) if args.check else Ports()
    given = {"server": args.port, "main_host": args.main_host_port, "redis": args.redis_port}
    ports = replace(usual, **{name: port for name, port in given.items() if port is not None})
    return asyncio.run(check.run(config, ports) if args.check else screen.run(config, ports))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)
