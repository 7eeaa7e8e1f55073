"""``aionotify serve``: run the server; with ``--dev``, without a Redis and a main host."""

import argparse
import contextlib
import logging
import os
from functools import partial

from aionotify.config import SETTINGS, Config, overlooked

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--dev``."""
    parser.add_argument(
        "--dev",
        action="store_true",
        help="for development: a private Redis, the users alice and bob, this machine only",
    )
    parser.usage = "aionotify serve [--config FILE] [--dev] [--SECTION.KEY VALUE ...]"
    parser.set_defaults(dev_mode=None, refuse=parser.error)


def prepare(args: argparse.Namespace) -> None:
    """With ``--dev``, have settings win over those of the configuration.

    Raises:
        CannotListen: the stand-in for the main host cannot be reached.
    """
    if not args.dev:
        return
    from aionotify.demo import dev

    for name in vars(args):
        if name in dev.REPLACED or name.startswith("auth.jwt."):
            args.refuse(f"--dev sets {name} itself: leave out --{name}")
    if "LISTEN_FDS" in os.environ:
        args.refuse("--dev listens by itself, and not on sockets of systemd")
    args.dev_mode = dev.Dev()
    vars(args).update(args.dev_mode.settings)
    for name, text in dev.DEFAULTS.items():
        vars(args).setdefault(name, text)


def run(args: argparse.Namespace, config: Config) -> int:
    """Serve until SIGTERM or Ctrl-C; see `aionotify.process.server.run`."""
    from aionotify.process import server

    for name, meant in overlooked(os.environ, SETTINGS).items():
        fields = {"variable": name, "expected": meant}
        _log.warning("environment variable ignored", extra={"fields": fields})
    load = partial(args.load, args)
    if args.dev_mode is None:
        return server.run(config, load)
    with contextlib.closing(args.dev_mode) as mode:
        return server.run(mode.checked(config), lambda: mode.checked(load()), mode.prepare)
