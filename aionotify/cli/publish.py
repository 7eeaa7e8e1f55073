"""``aionotify publish``: publish one event, or many from standard input."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.published import Published
from aionotify.broker.publisher import Publisher
from aionotify.cli.publish_http import publish_http
from aionotify.config import Config
from aionotify.errors import AionotifyError, BrokerRefused, BrokerUnavailable, ConfigError
from aionotify.events.event import split_batch
from aionotify.events.options import MEMBER, OPTIONS, UNTIL

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
        "--expires-in",
        metavar="SECONDS",
        type=float,
        help="do not deliver the event when it is older",
    )
    parser.add_argument(
        "--collapse", metavar="KEY", help="take the place of the last event with the same key"
    )
    parser.add_argument(
        "--away", metavar="SECONDS", type=float, help="hand it on if the user is away for so long"
    )
    parser.add_argument(
        "--until", choices=UNTIL, help="what is to have happened by then; with --away"
    )
    parser.add_argument(
        "--ephemeral", action="store_true", help="publish without storing, to clients connected now"
    )
    parser.add_argument(
        "--url",
        help="publish over HTTP, with the key in $AIONOTIFY_PUBLISH_KEY, to a node's address,"
        " https://.../publish; then events are one a line, and published as they come",
    )
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace, config: Config) -> int:
    """Publish, print each result as one JSON object per line, and return 1 if any failed."""
    if args.url is not None:
        event = _event(args)
        return int(publish_http(args.url, event, args.refuse, ephemeral=args.ephemeral) > 0)
    if config.redis.url.startswith("embedded:"):
        problem = "expected another address: embedded:// belongs to the server's process"
        raise ConfigError({"redis.url": problem})
    event = _event(args)
    events = split_batch(sys.stdin.buffer.read(), sys.maxsize) if event is None else [event]
    return asyncio.run(_publish(events, config, ephemeral=args.ephemeral))


def _event(args: argparse.Namespace) -> bytes | None:
    """Return the one that the arguments have, or None if events are on standard input."""
    if args.ephemeral and args.id is not None:
        args.refuse("--id is for durable events only: leave out --id or --ephemeral")
    for name in ("expires_in", "away", "until"):
        if args.ephemeral and getattr(args, name) is not None:
            flag = name.replace("_", "-")
            args.refuse(f"--{flag} is for durable events only: leave it out, or --ephemeral")
    given = {"event": args.event, "id": args.id, "data": args.data}
    options = {name: getattr(args, name) for name in OPTIONS}
    given[MEMBER] = {name: value for name, value in options.items() if value is not None} or None
    given = {name: value for name, value in given.items() if value is not None}
    if args.recipient is not None:
        try:
            return msgspec.json.encode({"recipient_id": args.recipient} | given)
        except UnicodeEncodeError:
            args.refuse("RECIPIENT, --event, --id and --collapse are text in UTF-8")
    if given:
        args.refuse("without RECIPIENT, give the whole event on standard input")
    return None


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
            results = await publisher.publish_many(batch, ephemeral=ephemeral)
            for number, result in enumerate(results, start + 1):
                if isinstance(result, AionotifyError):
                    failed += 1
                    which = f"event {number}: " if len(events) > 1 else ""
                    where = f" (redis.url: {endpoint.description})" if _is_redis(result) else ""
                    print(f"aionotify: {which}{result}{where}", file=sys.stderr)
                else:
                    print(msgspec.json.encode(_told(result)).decode(), flush=True)
    finally:
        await publisher.close()
        await endpoint.close()
    return int(failed > 0)


def _is_redis(error: AionotifyError) -> bool:
    """Whether it is Redis that does not do what it should, and not the event."""
    return isinstance(error, BrokerUnavailable | BrokerRefused)


def _told(result: Published) -> dict[str, Any]:
    online = {} if result.online is None else {"online": result.online}
    if not result.event_id:
        return online
    return {"event_id": result.event_id, **online, "repeated": result.repeated}


def _json(text: str) -> msgspec.Raw:
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise argparse.ArgumentTypeError("is not JSON; a text needs its own quotes") from None
