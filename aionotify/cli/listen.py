"""``aionotify listen``: the notifications of one user, as they come."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import msgspec

from aionotify.client.client import Client, ServerSentEvent
from aionotify.config import Config, ServerConfig

_TOKEN = "AIONOTIFY_TOKEN"  # noqa: S105 - the name of a variable
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - nothing is bound to it here


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where to listen, as whom, and for how long."""
    parser.add_argument(
        "--url", help="address of the stream, https://.../notify; else that of server.host and port"
    )
    parser.add_argument(
        "--token", help=f"the user's token; better in ${_TOKEN}, where no list of processes has it"
    )
    parser.add_argument(
        "--last-event-id", metavar="ID", default="", help="go on after this event, not from now on"
    )
    parser.add_argument("--count", metavar="N", type=int, help="end after N notifications")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace, config: Config) -> int:
    """Print each event as a JSON object a line, until Ctrl-C or `--count` notifications."""
    refuse: Callable[[str], NoReturn] = args.refuse
    url = args.url or _url(config.server)
    if url is None:
        refuse("the server listens on a Unix socket; give the --url of the proxy before it")
    token = args.token or os.environ.get(_TOKEN)
    try:
        client = Client(url, token=token, last_event_id=args.last_event_id)
    except ValueError as error:
        refuse(str(error))
    with contextlib.suppress(KeyboardInterrupt):  # how one ends it
        asyncio.run(_listen(client, args.count))
    return 0


async def _listen(client: Client, count: int | None) -> None:
    async with client:
        async for event in client:
            print(_line(event), flush=True)
            # By events of this name the server speaks of the stream, not to the user.
            if count is not None and not event.type.startswith("aionotify."):
                count -= 1
                if count <= 0:
                    return


def _line(event: ServerSentEvent) -> str:
    """Return `event` as JSON. On a terminal nothing in it moves the cursor."""
    try:
        data: object = msgspec.Raw(event.data.encode())
        msgspec.json.decode(event.data)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        data = event.data
    line = msgspec.json.encode({"type": event.type, "id": event.id, "data": data}).decode()
    if line.isprintable() or not sys.stdout.isatty():
        return line
    # What is not printable is within a string, where JSON has an escape for it.
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def _url(server: ServerConfig) -> str | None:
    if server.host.startswith("unix:"):
        return None
    host = "127.0.0.1" if server.host in _ANY else server.host
    return (
        f"http://[{host}]:{server.port}/notify"
        if ":" in host
        else f"http://{host}:{server.port}/notify"
    )
