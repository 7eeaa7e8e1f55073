"""Events: bytes in, a checked value out.

An event is one JSON object that names a `recipient_id`, a `group_id`, or both. It is decoded once,
and checked against the event contract. Nothing here does I/O, and nothing here knows who is
connected.

The JSON of a producer is passed on byte for byte wherever that is possible: what is not parsed
into Python cannot be changed by it (numbers keep their digits, members their order).
"""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from aionotify.errors import InvalidEvent
from aionotify.events.frame import RESERVED_PREFIX
from aionotify.events.group import MAX_GROUPS, GroupId, Receiver
from aionotify.events.json_text import json_type, with_member
from aionotify.events.options import MEMBER, Options, read_options

EVERYONE: Final = "*"
# The frame of the longest event, with the longest type and id, is to fit the 65,536 bytes that
# clients in Go have for a line or a frame (bufio.Scanner): that leaves 1,536 for all but the data.
MAX_BYTES: Final = 64_000
MAX_RECIPIENTS: Final = 1000
MAX_RECIPIENT_CHARS: Final = 256
MAX_NAME_CHARS: Final = 128  # of `event` and of `id`
# Parsers have limits of their own, and Python's moves with the stack it is called on: what one
# node takes, the next one must take as well.
MAX_DEPTH: Final = 500
RESERVED_TYPES: Final = frozenset({"open", "error"})  # EventSource dispatches its own under these

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Everything that some client's line splitter takes for the end of a line. The standard has CR and
# LF; parsers built on a language's own splitlines() have the rest too, and to those a type with
# U+2028 in it would inject a field.
_LINE_BREAK = re.compile(r"[\x00\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# A member name may be written with escapes (RFC 8259 section 8.3). Only escapes of the letters
# that occur in "recipient_id" and "group_id" can hide a second one.
_ESCAPED_NAME = re.compile(rb"\\u00(?:5[fF]|[67])")
_OPEN: Final = ord("[")
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'"[]{}'))
_MISSING: Final = "is missing, and so is group_id: an event names one of the two, or both"
_NON_ASCII_BREAKS = (
    (b"\xc2\x85", rb"\u0085"),
    (b"\xe2\x80\xa8", rb"\u2028"),
    (b"\xe2\x80\xa9", rb"\u2029"),
)


_Names = int | str | list[int | str]


class _Envelope(msgspec.Struct):
    """The members that aionotify itself reads; msgspec checks and skips all others."""

    recipient_id: _Names = None  # type: ignore[assignment]
    group_id: _Names = None  # type: ignore[assignment]
    event: str = None  # type: ignore[assignment]  # absent is None, an explicit null is refused
    id: str = None  # type: ignore[assignment]
    aionotify: msgspec.Raw = None  # type: ignore[assignment]


class _Address(msgspec.Struct):
    recipient_id: int | str | list[int | str]
    group_id: msgspec.Raw = msgspec.Raw(b"")


_decode_address = msgspec.json.Decoder(_Address).decode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True):
    """One checked event.

    Attributes:
        recipients: user ids in the order given, each once; ``("*",)`` is everyone.
        groups: groups in the order given, each once.
        type: the SSE event type, or None for the default (``message``).
        key: the idempotency key, or None.
        options: what is asked of aionotify itself, or None.
    """

    recipients: tuple[str, ...]
    type: str | None
    key: str | None
    _head: bytes
    # receiver -> the member that names it, when there are several
    _own: dict[Receiver, bytes] | None = None
    _tail: bytes = b""
    options: Options | None = None
    _stored: tuple[bytes, bytes] = (b"", b"")  # head and tail with all options, if there are any
    groups: tuple[str, ...] = ()

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Users first, then groups: whoever gets a copy."""
        if not self.groups:
            return self.recipients
        return (*self.recipients, *map(GroupId, self.groups))

    def data(self, receiver: Receiver) -> bytes:
        """The event as `receiver` may see it: one line of JSON in UTF-8.

        An event for several receivers never tells one of them who the others are: its
        `recipient_id`, or its `group_id`, is narrowed to the receiver's own, spelt as the producer
        spelt it, and the other one is left out.
        """
        if self._own is None:
            return self._head
        return self._head + self._own[receiver] + self._tail

    def stored(self, receiver: Receiver) -> bytes:
        """The event as it is kept for `receiver`: the same, with all its options."""
        if self.options is None:
            return self.data(receiver)
        head, tail = self._stored
        return head if self._own is None else head + self._own[receiver] + tail

    @property
    def size(self) -> int:
        """About how many bytes `data` returns."""
        return len(self._head) + len(self._tail)

    def shared(self) -> bool:
        """Whether all receivers get the same bytes."""
        return self._own is None


def decode(message: bytes, max_bytes: int = MAX_BYTES) -> Event:
    """Decode and check one event as it was published.

    Args:
        message: a JSON object in UTF-8 (RFC 8259), without a byte order mark.
        max_bytes: the longest message that is taken, also as the one line that clients get.

    Raises:
        InvalidEvent: it breaks the contract; `fields` says where and how.
    """
    if len(message) > max_bytes:
        raise InvalidEvent({"body": f"is {len(message)} bytes long, at most {max_bytes} allowed"})
    try:
        return _decode(message, max_bytes)
    except msgspec.ValidationError:
        raise InvalidEvent(_explain(message)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent({"body": _why_not_json(message, error)}) from None


def _decode(message: bytes, max_bytes: int) -> Event:
    if not message.isascii():
        message.decode()  # msgspec does not look into strings that it skips
    envelope = _decode_envelope(message)
    raw: _Names | None = envelope.recipient_id
    group: _Names | None = envelope.group_id
    kind: str | None = envelope.event
    key: str | None = envelope.id
    options: Options | None = None
    fields: dict[str, str] = {}
    groups: tuple[str, ...] = ()
    if (
        type(raw) is str
        and group is None
        and 0 < len(raw) <= MAX_RECIPIENT_CHARS
        and raw.isprintable()
    ):
        recipients: tuple[str, ...] = (raw,)  # nearly every event; the rest is told apart below
    else:
        recipients, groups = _receivers(raw, group, fields)
    if kind is not None:
        _check_type(kind, fields)
    if key is not None and not 1 <= len(key) <= MAX_NAME_CHARS:
        fields["id"] = f"must be 1 to {MAX_NAME_CHARS} characters, not {len(key)}"
    if envelope.aionotify is not None:
        options = _options(envelope.aionotify, fields)
        if (groups or recipients == (EVERYONE,)) and options and options.away is not None:
            fields[f"{MEMBER}.away"] = "is for events for users, not for groups or everyone"
    # A bracket in a string counts as well, so this is no more than a reason to look closely.
    if (
        len(message) > 2 * MAX_DEPTH
        and message.count(b"[") + message.count(b"{") > MAX_DEPTH
        and _depth(message) > MAX_DEPTH
    ):
        fields["body"] = f"is nested more than {MAX_DEPTH} levels deep"
    # A second recipient_id would reach the receiver and name somebody else.
    elif group is not None or message.count(b"recipient_id") > 1 or 92 in message:
        _check_names(message, fields)
    line = one_line(message)
    if len(line) > max_bytes:
        fields["body"] = f"is {len(line)} bytes long on one line, at most {max_bytes} allowed"
    if fields:
        raise InvalidEvent(fields)

    if options is None and group is None and not isinstance(raw, list):
        return Event(recipients, kind, key, line)
    return _in_parts(envelope, recipients, groups, line, options)


def _in_parts(
    envelope: _Envelope,
    recipients: tuple[str, ...],
    groups: tuple[str, ...],
    line: bytes,
    options: Options | None,
) -> Event:
    """An event that not everybody gets as it was published."""
    kind, key = envelope.event, envelope.id
    raw: _Names | None = envelope.recipient_id
    group: _Names | None = envelope.group_id
    shown = line
    if options is not None:
        shown = with_member(line, MEMBER, one_line(options.for_clients()))
    is_alone = raw is None or group is None
    if is_alone and not isinstance(raw, list) and not isinstance(group, list):
        stored = line, b""
        return Event(recipients, kind, key, shown, None, b"", options, stored, groups)
    own: dict[Receiver, bytes] = {}
    for value in _listed(raw):
        own.setdefault(str(value), b'"recipient_id":' + _encode_line(value))
    for value in _listed(group):
        own.setdefault(GroupId(str(value)), b'"group_id":' + _encode_line(value))
    head, tail = _split_at_names(shown)
    stored = (head, tail) if shown is line else _split_at_names(line)
    return Event(recipients, kind, key, head, own, tail, options, stored, groups)


def _receivers(
    raw: _Names | None, group: _Names | None, fields: dict[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The users and the groups that an event names."""
    recipients = () if raw is None else _recipients(raw, fields)
    groups = () if group is None else _groups(group, fields)
    if raw is None and group is None:
        fields["recipient_id"] = _MISSING
    if group is not None and recipients == (EVERYONE,):
        fields["recipient_id"] = 'must not be "*" beside a group_id: everyone is everyone'
    return recipients, groups


def _listed(value: _Names | None) -> list[int | str]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def sole_recipient(message: bytes) -> str | None:
    """Whom a message is for if that is one user; nothing else of it is checked.

    None for all other messages, of which `decode` says what they are. This costs a fifth of that,
    for those who hear more than they have use for.
    """
    try:
        decoded = _decode_address(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    address = decoded.recipient_id
    if (
        decoded.group_id
        or isinstance(address, list)
        or address == EVERYONE
        or check_recipient(address) is not None
    ):
        return None
    return str(address)


def split_batch(body: bytes, limit: int = 1000) -> list[bytes]:
    """The events of a request body: one object, an array of objects, or NDJSON.

    Args:
        body: UTF-8 JSON; the events in it are not checked here, only told apart.
        limit: the most events that are taken.

    Raises:
        InvalidEvent: the body is none of the three, is empty, or holds too many.
    """
    text = body.strip()
    if not text:
        events = []
    elif text.startswith(b"["):
        try:
            events = [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidEvent({"body": _why_not_json(text, error)}) from None
    elif _is_one_value(text):
        events = [text]
    else:
        events = [line for line in (raw.strip() for raw in text.split(b"\n")) if line]
    if not events:
        raise InvalidEvent({"body": "holds no event"})
    if len(events) > limit:
        raise InvalidEvent({"body": f"holds {len(events)} events, at most {limit} allowed"})
    return events


def _is_one_value(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return b"\n" not in text  # a single bad line is one bad event, with a better message
    return True


def check_recipient(value: int | str) -> str | None:
    """Why `value` cannot be a user id, or None when it can. ``"*"`` is not looked at."""
    text = str(value)
    if not 1 <= len(text) <= MAX_RECIPIENT_CHARS:
        return f"must be 1 to {MAX_RECIPIENT_CHARS} characters, not {len(text)}"
    if not text.isprintable() and _CONTROL.search(text):
        return f"must not contain control characters, has {_first(_CONTROL, text)}"
    return None


def check_group(value: int | str) -> str | None:
    """Why `value` cannot name a group, or None when it can."""
    if value == EVERYONE:
        return 'must not be "*", which as a recipient_id is everyone'
    return check_recipient(value)


def _recipients(raw: _Names, fields: dict[str, str]) -> tuple[str, ...]:
    if not isinstance(raw, list):
        if (problem := check_recipient(raw)) is not None:
            fields["recipient_id"] = problem
        return (str(raw),)
    if not 1 <= len(raw) <= MAX_RECIPIENTS:
        fields["recipient_id"] = f"must hold 1 to {MAX_RECIPIENTS} recipients, not {len(raw)}"
        return ()
    for index, value in enumerate(raw):
        problem = check_recipient(value)
        if value == EVERYONE:
            problem = 'must not be "*" inside a list: everyone is everyone'
        if problem is not None:
            fields[f"recipient_id[{index}]"] = problem
            break
    return tuple(dict.fromkeys(map(str, raw)))


def _groups(raw: _Names, fields: dict[str, str]) -> tuple[str, ...]:
    values = _listed(raw)
    if not 1 <= len(values) <= MAX_GROUPS:
        fields["group_id"] = f"must hold 1 to {MAX_GROUPS} groups, not {len(values)}"
        return ()
    for index, value in enumerate(values):
        if (problem := check_group(value)) is not None:
            fields[f"group_id[{index}]" if isinstance(raw, list) else "group_id"] = problem
            break
    return tuple(dict.fromkeys(map(str, values)))


def _check_type(value: str, fields: dict[str, str]) -> None:
    if not 1 <= len(value) <= MAX_NAME_CHARS:
        fields["event"] = f"must be 1 to {MAX_NAME_CHARS} characters, not {len(value)}"
    elif not value.isprintable() and _LINE_BREAK.search(value):
        fields["event"] = f"must not contain a line break or NUL, has {_first(_LINE_BREAK, value)}"
    elif value in RESERVED_TYPES:
        fields["event"] = f'must not be "{value}": EventSource has its own event of that name'
    elif value.startswith(RESERVED_PREFIX):
        fields["event"] = f'must not begin with "{RESERVED_PREFIX}", as our own events do'


def _options(member: msgspec.Raw, fields: dict[str, str]) -> Options | None:
    try:
        return read_options(bytes(member))
    except InvalidEvent as error:
        fields.update(error.fields)
        return None


def _explain(message: bytes) -> dict[str, str]:
    """What is wrong with the shape of a message that is JSON but not an event."""
    try:
        members = dict(_members(message))
    except msgspec.ValidationError:
        return {"body": f"must be a JSON object, not {json_type(message)}"}
    except (msgspec.DecodeError, RecursionError) as error:
        return {"body": _why_not_json(message, error)}
    fields: dict[str, str] = {}
    if not {"recipient_id", "group_id"} & members.keys():
        fields["recipient_id"] = _MISSING
    for name in ("recipient_id", "group_id"):
        if name in members:
            _explain_names(name, members[name], fields)
    for name in ("event", "id"):
        if name in members and (kind := json_type(members[name])) != "a string":
            fields[name] = f"must be a string, not {kind}"
    if MEMBER in members:
        _options(msgspec.Raw(members[MEMBER]), fields)
    return fields or {"body": "does not have the shape of an event"}


def _explain_names(name: str, value: bytes, fields: dict[str, str]) -> None:
    if json_type(value) == "an array":
        for index, item in enumerate(msgspec.json.decode(value, type=list[msgspec.Raw])):
            if (kind := _wrong_receiver(bytes(item))) is not None:
                fields[f"{name}[{index}]"] = f"must be a string or an integer, not {kind}"
                break
    elif (kind := _wrong_receiver(value)) is not None:
        fields[name] = f"must be a string, an integer or a list of them, not {kind}"


def _wrong_receiver(value: bytes) -> str | None:
    """What a JSON value is when its type makes it no user id and no group, else None."""
    try:
        msgspec.json.decode(value, type=int | str)
    except msgspec.ValidationError:
        kind = json_type(value)
        return "such a number" if kind == "a number" else kind
    return None


def _why_not_json(message: bytes, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 (byte {error.start}, 0x{error.object[error.start]:02X})"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    if not message.strip():
        return "is empty"
    if message.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark"
    reason = str(error)
    if ("truncated" in reason or "surrogate" in reason) and _is_json(message):
        # The grammar of RFC 8259 has lone surrogates, UTF-8 does not: section 8.2 leaves it open.
        return "has half of a surrogate pair in a string"
    return f"is not JSON: {_pointed(reason.removeprefix('JSON is malformed: '), message)}"


def _pointed(reason: str, message: bytes) -> str:
    """The decoder's `reason`, with the character that it stumbled over; by number, unquoted."""
    place = re.search(r"\(byte (\d+)\)", reason)
    if place is None or int(place[1]) >= len(message):
        return reason
    char = message[int(place[1]) :][:4].decode(errors="ignore")[:1]
    return reason.replace(place[0], f"(byte {place[1]}, {_number(char)})") if char else reason


def _first(pattern: re.Pattern[str], text: str) -> str:
    """Name the first character in `text` that `pattern` matches, and say where it is."""
    found = pattern.search(text)
    assert found is not None
    return f"{_number(found[0])} at character {found.start() + 1}"


def _number(char: str) -> str:
    return f"U+{ord(char):04X}"


def _is_json(message: bytes) -> bool:
    try:
        json.loads(message, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True


def _check_names(message: bytes, fields: dict[str, str]) -> None:
    if (
        message.count(b"recipient_id") < 2
        and message.count(b"group_id") < 2
        and not (92 in message and _ESCAPED_NAME.search(message))
    ):
        return
    # len() in place of int() and float(): their values do not matter here, and int() of 5,000
    # digits raises.
    pairs = json.loads(message, object_pairs_hook=list, parse_int=len, parse_float=len)
    names = [name for name, _ in pairs]
    for name in ("recipient_id", "group_id"):
        if names.count(name) > 1:
            fields[name] = "is given more than once"


def one_line(message: bytes) -> bytes:
    """The same JSON without anything that a client may take for the end of a line.

    CR and LF stand only between tokens in valid JSON; the other three only inside strings, where
    an escape means the same.
    """
    line = message.strip()
    if 10 in line or 13 in line:  # a number is looked for ten times as fast as bytes
        line = line.replace(b"\r", b" ").replace(b"\n", b" ")
    if not line.isascii():
        for raw, escaped in _NON_ASCII_BREAKS:
            line = line.replace(raw, escaped)
    return line


def _split_at_names(line: bytes) -> tuple[bytes, bytes]:
    """The JSON before and after what names its receivers, or the first of the two that do."""
    before: list[bytes] = []
    after: list[bytes] = []
    target = before
    for name, value in _members(line):
        if name in ("recipient_id", "group_id"):
            target = after
        else:
            target.append(_encode_line(name) + b":" + value)
    head = b"{" + b"".join(member + b"," for member in before)
    return head, b"".join(b"," + member for member in after) + b"}"


def _members(message: bytes) -> Iterator[tuple[str, bytes]]:
    for name, value in _decode_members(message).items():
        yield name, bytes(value)


def _encode_line(value: int | str) -> bytes:
    return one_line(_encode(value))


def _depth(message: bytes) -> int:
    """How deep arrays and objects are nested, in valid JSON."""
    text = message.replace(rb"\\", b"").replace(rb"\"", b"").translate(_BRACKETS, _NO_BRACKETS)
    outside_strings = b"".join(text.split(b'"')[::2])
    steps = (1 if bracket == _OPEN else -1 for bracket in outside_strings)
    return max(itertools.accumulate(steps), default=0)
