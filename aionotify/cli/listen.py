"""``aionotify listen``: print the notifications of one user as they arrive."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from aionotify.cli.local_url import local_url
from aionotify.client.client import Client, ServerSentEvent, StreamRefused
from aionotify.config import Config
from aionotify.config.fields import without_newline
from aionotify.errors import AionotifyError, CredentialsMissing

_TOKEN = "AIONOTIFY_TOKEN"  # noqa: S105 - the name of a variable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the URL, the token, and when to stop."""
    parser.add_argument(
        "--url",
        help="address of the stream, https://.../notify (default from server.host and port)",
    )
    parser.add_argument(
        "--token", help=f"the user's token; prefer ${_TOKEN}, which other users cannot see"
    )
    parser.add_argument("--last-event-id", metavar="ID", default="", help="resume after this event")
    parser.add_argument("--count", metavar="N", type=int, help="stop after N notifications")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace, config: Config) -> int:
    """Print each event as one JSON object per line, until Ctrl-C or `--count` notifications."""
    refuse: Callable[[str], NoReturn] = args.refuse
    url = args.url or local_url(config.server.host, config.server.port, "/notify")
    if url is None:
        refuse("the server listens on a Unix socket; set --url to the address of the proxy")
    token = without_newline(args.token or os.environ.get(_TOKEN)) or None
    try:
        client = Client(url, token=token, last_event_id=args.last_event_id)
    except ValueError as error:
        refuse(str(error))
    try:
        with contextlib.suppress(KeyboardInterrupt):  # the usual way to stop it
            asyncio.run(_listen(client, args.count))
    except StreamRefused as error:
        if error.code == CredentialsMissing.code:
            raise AionotifyError(f"{error}; give one with --token or ${_TOKEN}") from error
        raise
    return 0


async def _listen(client: Client, count: int | None) -> None:
    async with client:
        async for event in client:
            print(_line(event), flush=True)
            # Control events are not notifications.
            if count is not None and not event.type.startswith("aionotify."):
                count -= 1
                if count <= 0:
                    return


def _line(event: ServerSentEvent) -> str:
    """Return `event` as JSON; on a terminal, without control characters."""
    try:
        data: object = msgspec.Raw(event.data.encode())
        msgspec.json.decode(event.data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        data = event.data
    line = msgspec.json.encode({"type": event.type, "id": event.id, "data": data}).decode()
    if line.isprintable() or not sys.stdout.isatty():
        return line
    # An unprintable character is in a string, where JSON has an escape for it.
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)
