"""``aionotify init``: a first configuration file, with every setting and a fresh publish key."""

import argparse
import json
import os
import secrets
import shlex
from collections.abc import Iterator

from aionotify.config import SETTINGS, Config

_KEY_BYTES = 32  # 256 bits, out of reach of guessing
_COMMENT_COLUMN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the path of the new file."""
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default="config.yaml",
        help="the file to write (default config.yaml); one that exists is left as it is",
    )


def run(args: argparse.Namespace, config: Config) -> int:
    """Write the file, readable by its owner only, and say what to do next.

    Raises:
        OSError: the file exists, or cannot be written.
    """
    text = rendered(secrets.token_urlsafe(_KEY_BYTES))
    # The file holds a key, so nobody else may read it at any moment: the mode comes with the file.
    try:
        descriptor = os.open(args.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        error.strerror = "it exists and is left as it is; name another file"
        raise
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        os.unlink(args.path)  # it is ours, and half a file would stop the next attempt
        raise
    print(f"Wrote {args.path}, with a new key in admin.publish_keys.")
    check = shlex.join(["aionotify", "check", "--config", args.path])
    print(f"Set redis.url and auth.main_host.url in it; then run: {check}")
    return 0


def rendered(key: str) -> str:
    """Return the text of a configuration file: the defaults, and one publish key."""
    return "\n".join(_lines(key)) + "\n"


def _lines(key: str) -> Iterator[str]:
    yield "# Every setting with its default, but for admin.publish_keys. Durations are in seconds."
    yield "# Keep this file secret: who has the key may publish to everyone."
    above: list[str] = []
    for item in SETTINGS.values():
        *sections, name = item.path.split(".")
        for depth, section in enumerate(sections):
            if above[: depth + 1] != sections[: depth + 1]:
                if depth == 0:
                    yield ""
                yield f"{'  ' * depth}{section}:"
        above = sections
        value = json.dumps(item.default) if isinstance(item.default, str) else item.default_text
        if item.path == "admin.publish_keys":
            value = json.dumps([key])
        line = f"{'  ' * len(sections)}{name}: {value}"
        yield f"{line:{_COMMENT_COLUMN}} # {item.does}"
