"""``aionotify publish``: publish one event, or many from standard input."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from aionotify.broker.connection.endpoint import Endpoint, replies
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import Published, Publisher
from aionotify.config import Config
from aionotify.errors import AionotifyError, ConfigError, InvalidEvent
from aionotify.events.event import decode, split_batch

_BATCH = 500  # events in flight at the same time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the members of an event."""
    parser.add_argument(
        "recipient",
        metavar="RECIPIENT",
        nargs="?",
        help="a user id, or * for everyone; without it, events are read from standard input:"
        " one object, an array, or one object per line",
    )
    parser.add_argument(
        "data", metavar="DATA", nargs="?", type=_json, help="the event's data, in JSON"
    )
    parser.add_argument("--event", metavar="TYPE", help="the event's type")
    parser.add_argument("--id", metavar="KEY", help="idempotency key: deliver the event only once")
    parser.add_argument(
        "--ephemeral", action="store_true", help="publish without storing, to clients connected now"
    )
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace, config: Config) -> int:
    """Publish, print each result as one JSON object per line, and return 1 if any failed."""
    if config.redis.url.startswith("embedded:"):
        problem = "expected another address: embedded:// belongs to the server's process"
        raise ConfigError({"redis.url": problem})
    return asyncio.run(_publish(_events(args), config, ephemeral=args.ephemeral))


def _events(args: argparse.Namespace) -> list[bytes]:
    if args.ephemeral and args.id is not None:
        args.refuse("--id is for durable events only: leave out --id or --ephemeral")
    given = {"event": args.event, "id": args.id, "data": args.data}
    given = {name: value for name, value in given.items() if value is not None}
    if args.recipient is not None:
        try:
            return [msgspec.json.encode({"recipient_id": args.recipient} | given)]
        except UnicodeEncodeError:
            args.refuse("RECIPIENT, --event and --id are text in UTF-8")
    if given:
        args.refuse("without RECIPIENT, give the whole event on standard input")
    return split_batch(sys.stdin.buffer.read(), limit=sys.maxsize)


async def _publish(events: Sequence[bytes], config: Config, *, ephemeral: bool) -> int:
    endpoint = Endpoint(config.redis)
    publisher = Publisher(
        endpoint,
        prefix=config.redis.prefix,
        inbox=config.inbox,
        max_bytes=config.events.max_bytes,
    )
    failed = 0
    try:
        for start in range(0, len(events), _BATCH):
            batch = events[start : start + _BATCH]
            if ephemeral:
                outcomes = [await _publish_ephemeral(endpoint, config, each) for each in batch]
            else:
                outcomes = [_told(result) for result in await publisher.publish_many(batch)]
            for number, outcome in enumerate(outcomes, start + 1):
                if isinstance(outcome, AionotifyError):
                    failed += 1
                    which = f"event {number}: " if len(events) > 1 else ""
                    print(f"aionotify: {which}{outcome}", file=sys.stderr)
                else:
                    print(msgspec.json.encode(outcome).decode(), flush=True)
    finally:
        await publisher.close()
        await endpoint.close()
    return int(failed > 0)


async def _publish_ephemeral(
    endpoint: Endpoint, config: Config, event: bytes
) -> dict[str, Any] | AionotifyError:
    try:
        if decode(event, config.events.max_bytes).key is not None:
            raise InvalidEvent({"id": "is for durable events only"})
        publish = "PUBLISH", Keys.of(config.redis).ephemeral, event
        [nodes] = await replies(endpoint.commands("writes").execute, publish)
    except AionotifyError as error:
        return error
    return {"nodes": nodes}


def _told(result: Published | AionotifyError) -> dict[str, Any] | AionotifyError:
    if isinstance(result, AionotifyError):
        return result
    return {"id": result.id, "online": result.online, "repeated": result.repeated}


def _json(text: str) -> msgspec.Raw:
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise argparse.ArgumentTypeError("is not JSON; a text needs its own quotes") from None
