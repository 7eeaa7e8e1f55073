"""Lines to copy into a terminal while the demo runs."""

import os
import shlex
import shutil
import sys
from typing import Final

import msgspec

from aionotify.broker.keys import Keys
from aionotify.demo.world import HOST, World

_TYPE: Final = "order.shipped"


def commands(world: World) -> list[tuple[str, str]]:
    """Return a description and a command line for each."""
    stream, token = f"{world.url}/notify", world.tokens
    aionotify, redis = executable(), f"redis://{HOST}:{world.redis_port}"
    publish = ["curl", "-H", f"Authorization: Bearer {world.key}"]
    return [
        (
            "Listen as alice, with curl",
            shlex.join(["curl", "-N", "-H", f"Authorization: Bearer {token['alice']}", stream]),
        ),
        (
            "Listen as bob, with reconnection",
            f"{aionotify} listen --url {stream} --token {token['bob']}",
        ),
        (
            "Publish to alice, durable, over HTTP",
            shlex.join([*publish, "-d", _event("alice", "From curl"), f"{world.url}/publish"]),
        ),
        (
            "Publish to bob, durable, from the command line",
            f"{aionotify} publish --redis.url {redis} --event {_TYPE} bob "
            + shlex.quote(_json({"text": "From the command line"})),
        ),
        (
            "Publish to everyone, ephemeral, with plain Redis",
            f"redis-cli -p {world.redis_port} "
            + shlex.join(
                ["PUBLISH", Keys.of(world.config.redis).ephemeral, _event("*", "From redis-cli")]
            ),
        ),
    ]


def executable() -> str:
    """Return the command to type, in this directory, for this program."""
    name, _ = os.path.splitext(os.path.basename(sys.argv[0]))
    if name == "__main__":
        return f"{_short(sys.executable)} -m aionotify"
    found = shutil.which(name)
    if found is not None and os.path.samefile(found, sys.argv[0]):
        return name
    return _short(sys.argv[0])


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith(os.pardir) else relative)


def _event(recipient_id: str, text: str) -> str:
    return _json({"recipient_id": recipient_id, "event": _TYPE, "data": {"text": text}})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
