"""``aionotify demo``: all parts on this machine, to try aionotify.

With ``--check`` it runs unattended: it publishes in every way, and reports which user got what.
"""

import argparse
import asyncio
from dataclasses import replace

from aionotify.config import Config
from aionotify.demo.world import Ports
from aionotify.telemetry import logs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the ports, and ``--check``."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="publish in every way, check which users get it, and exit with 0 or 1",
    )
    for flag, does, default in (
        ("--port", "of the server", "8001"),
        ("--main-host-port", "of the shop, the main host, and its page", "8000"),
        ("--redis-port", "of the embedded Redis", "6380, or another one if it is taken"),
    ):
        parser.add_argument(
            flag,
            type=_port,
            metavar="PORT",
            help=f"port {does} (default {default}; any free one with --check); 0: any",
        )


def run(args: argparse.Namespace, config: Config) -> int:
    """Run the demo until Ctrl-C or SIGTERM, or with ``--check`` until all is checked."""
    # Imported here, so that --help and usage errors do not wait for it.
    from aionotify.demo import check, screen

    # The terminal shows commands to copy, so log only problems.
    logs.configure("warning", config.log.format)
    usual = Ports(0, 0, 0) if args.check else Ports()
    given = {"server": args.port, "main_host": args.main_host_port, "redis": args.redis_port}
    ports = replace(usual, **{name: port for name, port in given.items() if port is not None})
    return asyncio.run(check.run(config, ports) if args.check else screen.run(config, ports))


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)
