"""``aionotify systemd``: the systemd units of this installation.

This module knows paths and settings; docs/deployment.rst explains the units.
"""

import argparse
import math
import os
import re
import socket
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from stat import S_IROTH, S_IXOTH
from typing import Final

from aionotify.config import Config

_UNITS: Final = {"service": "aionotify.service", "socket": "aionotify.socket"}
_PLACE: Final = "/etc/systemd/system"
_CLOSING: Final = 30  # seconds beyond server.drain to close everything after the streams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of one unit, and of the output directory."""
    parser.add_argument(
        "unit", nargs="?", choices=list(_UNITS), help="print or write only this unit"
    )
    parser.add_argument(
        "--output", metavar="DIR", help=f"write the units to this directory, usually {_PLACE}"
    )


def run(args: argparse.Namespace, config: Config) -> int:
    """Print or write the units; warn on standard error of files the service cannot read."""
    command = _command()
    file = args.config and os.path.abspath(args.config)
    chosen = [args.unit] if args.unit else list(_UNITS)
    texts = {_UNITS[unit]: rendered(unit, config, command, file) for unit in chosen}
    if args.output:
        try:
            for name, text in texts.items():
                print(_written(Path(args.output, name), text))
        except OSError as error:
            print(f"aionotify: {args.output}: {error.strerror}", file=sys.stderr)
            return 1
    elif args.unit:
        print(*texts.values(), end="")
    else:
        for name, text in texts.items():
            print(f"# {_PLACE}/{name}\n{text}")
        print(
            f"aionotify: these are two files; to write them, use --output {_PLACE}", file=sys.stderr
        )
    files = (command[0], sys.executable, *([file] if file else []))
    for real in dict.fromkeys(Path(os.path.realpath(name)) for name in files):
        for reason in _out_of_reach(real):
            print(f"aionotify: the service cannot read {real}: {reason}", file=sys.stderr)
    return 0


def rendered(unit: str, config: Config, command: list[str], file: str | None = None) -> str:
    """Return the text of a unit.

    Args:
        unit: ``service`` or ``socket``.
        command: starts aionotify; its first word is the absolute path of a program.
        file: absolute path of the configuration file, if any.
    """
    text = resources.files(__package__).joinpath(_UNITS[unit]).read_text(encoding="utf-8")
    words = [*command, "serve", *(["--config", file] if file else [])]
    values = {
        "command": " ".join(map(_quoted, words)),
        "timeout_stop": str(math.ceil(config.server.drain) + _CLOSING),
        "listen": "\n".join(f"ListenStream={address}" for address in _addresses(config)),
    }
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)


def _written(path: Path, text: str) -> Path:
    """Write `path` completely or not at all, readable for all, whatever the umask."""
    # Replace the file instead of writing to it: a masked unit is a link to /dev/null.
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    return new.replace(path)


def _command() -> list[str]:
    if getattr(sys, "frozen", False):
        return [sys.executable]
    script = Path(sys.executable).with_name("aionotify")
    return [str(script)] if script.exists() else [sys.executable, "-m", "aionotify"]


def _quoted(word: str) -> str:
    """Write one word of a command line (systemd.service(5), "COMMAND LINES")."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[^\s\"'\\;]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _addresses(config: Config) -> Iterator[str]:
    """Yield the addresses to listen on; systemd accepts addresses but no names."""
    host, port = config.server.host, config.server.port
    if host.startswith("unix:"):
        yield os.path.abspath(host.removeprefix("unix:")).replace("%", "%%")
        return
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for address in dict.fromkeys(str(info[4][0]) for info in infos):
        yield f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _out_of_reach(path: Path) -> Iterator[str]:
    """Yield why the service, a user without groups, cannot read `path`."""
    if any(path.is_relative_to(home) for home in ("/home", "/root", "/run/user")):
        yield "it is in a home directory; install it in /opt"
    elif path.is_relative_to("/tmp"):  # noqa: S108 - that is the point
        yield "the service has a /tmp of its own"
    elif not path.stat().st_mode & S_IROTH:
        yield "only its owner may read it; for secrets see docs/deployment.rst"
    else:
        for parent in path.parents:
            if not parent.stat().st_mode & S_IXOTH:
                yield f"only its owner may enter {parent}"
