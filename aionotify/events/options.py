"""Options: what the producer of an event asks of aionotify, in the event's member `aionotify`.

Each has a line in the table below. Clients get those of them that are for clients, and no others.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from aionotify.errors import InvalidEvent
from aionotify.events.json_text import json_type

MEMBER: Final = "aionotify"
MAX_COLLAPSE_CHARS: Final = 128
MAX_EXPIRES_IN: Final = 366 * 86400  # seconds; no inbox keeps anything for longer
MAX_AWAY: Final = 30 * 86400  # seconds
UNTIL: Final = ("written", "read")
_NAME_CHARS: Final = 64  # of an unknown option that are told

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """The options of one event.

    Attributes:
        expires_in: seconds after which it is not delivered any more, or None.
        collapse: a newer event of the same key in the same inbox takes its place; or None.
        away: seconds after which it is handed on if its user was away, or None.
        until: what is to have happened by then, ``"written"`` (to a stream of the user) or
            ``"read"``; None for the former.
    """

    expires_in: float | None = None
    collapse: str | None = None
    away: float | None = None
    until: str | None = None

    def for_clients(self) -> bytes:
        """The member as clients get it, or nothing if there is none for them."""
        told = {name: getattr(self, name) for name in _TABLE if _TABLE[name].is_for_clients}
        told = {name: value for name, value in told.items() if value is not None}
        return _encode(told) if told else b""


class _Option(NamedTuple):
    """What there is to an option.

    Attributes:
        decode: its value from JSON; raises msgspec.ValidationError for a value of another type.
        expected: the type, with its article.
        problem: what is wrong with a value of that type, or None.
        is_for_clients: whether it is passed on.
        needs_inbox: whether it says something only of an event that is kept.
    """

    decode: Callable[[bytes], Any]
    expected: str
    problem: Callable[[Any], str | None]
    is_for_clients: bool = False
    needs_inbox: bool = False


def read_options(member: bytes) -> Options:
    """The options in an event's member `aionotify`.

    Raises:
        InvalidEvent: it is no object, or has an option that there is not, or a value that is none.
    """
    if (kind := json_type(member)) != "an object":
        raise InvalidEvent({MEMBER: f"must be an object, not {kind}"})
    values: dict[str, Any] = {}
    fields: dict[str, str] = {}
    for name, raw in _decode_members(member).items():
        option = _TABLE.get(name)
        if option is None:
            # Whatever it is called, it is told on one line.
            told = ascii(name)[1:-1][:_NAME_CHARS]
            fields[f"{MEMBER}.{told}"] = f"is no option; there are {', '.join(_TABLE)}"
            break
        try:
            values[name] = value = option.decode(bytes(raw))
        except msgspec.ValidationError:
            kind = json_type(bytes(raw))
            kind = "such a number" if kind == option.expected else kind
            fields[f"{MEMBER}.{name}"] = f"must be {option.expected}, not {kind}"
        else:
            if (problem := option.problem(value)) is not None:
                fields[f"{MEMBER}.{name}"] = problem
    if "until" in values and "away" not in values:
        fields[f"{MEMBER}.until"] = "needs the option away"
    if fields:
        raise InvalidEvent(fields)
    return Options(**values)


def check_ephemeral(options: Options) -> None:
    """Raise InvalidEvent for an option that says nothing of an event that is not kept."""
    given = (name for name in _TABLE if getattr(options, name) is not None)
    if needing := [name for name in given if _TABLE[name].needs_inbox]:
        raise InvalidEvent({f"{MEMBER}.{name}": "is for durable events only" for name in needing})


def _check_expires_in(value: float) -> str | None:
    if 0 < value <= MAX_EXPIRES_IN:
        return None
    return f"must be more than 0 and at most {MAX_EXPIRES_IN} seconds"


def _check_away(value: float) -> str | None:
    if 0 < value <= MAX_AWAY:
        return None
    return f"must be more than 0 and at most {MAX_AWAY} seconds"


def _check_until(value: str) -> str | None:
    return None if value in UNTIL else f"must be {' or '.join(UNTIL)}"


def _check_collapse(value: str) -> str | None:
    if 1 <= len(value) <= MAX_COLLAPSE_CHARS:
        return None
    return f"must be 1 to {MAX_COLLAPSE_CHARS} characters, not {len(value)}"


_TABLE: Final = {
    "expires_in": _Option(
        msgspec.json.Decoder(float).decode, "a number", _check_expires_in, needs_inbox=True
    ),
    "collapse": _Option(
        msgspec.json.Decoder(str).decode, "a string", _check_collapse, is_for_clients=True
    ),
    "away": _Option(msgspec.json.Decoder(float).decode, "a number", _check_away, needs_inbox=True),
    "until": _Option(msgspec.json.Decoder(str).decode, "a string", _check_until, needs_inbox=True),
}

OPTIONS: Final = tuple(_TABLE)
"""The names of all options."""
