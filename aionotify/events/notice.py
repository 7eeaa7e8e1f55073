"""Notices: what all open streams of a recipient are told at once, and what is in no inbox.

A notice travels on the recipient's live channel as ``- <name> <JSON object>``. Clients get it as
the event ``aionotify.<name>`` with that object as data. It has no position and no cursor: who is
away when it is published finds out what it says in another way.
"""

from typing import Any, Final, NamedTuple

import msgspec

from aionotify.errors import InvalidEvent
from aionotify.events.event import one_line

NAMES: Final = frozenset({"read", "recalled"})
MARK: Final = b"- "
"""What a live message has in the place of a position, if it is not that of an event."""

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
MAX_BYTES: Final = 16_384


class Notice(NamedTuple):
    """A notice: one of `NAMES`, and a JSON object on one line."""

    name: str
    data: bytes


def message(name: str, members: dict[str, Any]) -> bytes:
    """The live message that is a notice."""
    assert name in NAMES
    return b"%b%b %b" % (MARK, name.encode(), one_line(_encode(members)))


def parse(message: bytes) -> Notice:
    """The notice in a live message that begins with `MARK`, and is no ephemeral event.

    Raises:
        InvalidEvent: it is none, or has a name that is not known here.
    """
    if len(message) > MAX_BYTES:
        raise InvalidEvent({"body": f"is {len(message)} bytes long, at most {MAX_BYTES} allowed"})
    name, _, data = message[len(MARK) :].partition(b" ")
    if name.decode("ascii", "replace") not in NAMES:
        raise InvalidEvent({"body": "is a notice whose name is not known"})
    try:
        data.decode()  # msgspec does not look into strings that it skips
        _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent({"body": "is a notice whose data is no JSON object"}) from None
    return Notice(name.decode(), one_line(data))
