"""JSON as it was written: what is told of it, and taken out of it, without writing it anew."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

_TYPES: Final = {
    b"{": "an object",
    b"[": "an array",
    b'"': "a string",
    b"t": "a boolean",
    b"f": "a boolean",
    b"n": "null",
}
# Their values do not matter, only where they end; int() of 5,000 digits raises.
_value_at: Final = json.JSONDecoder(parse_int=len, parse_float=len, strict=False).raw_decode


def json_type(value: bytes) -> str:
    """What a JSON value is, with its article."""
    return _TYPES.get(value.lstrip()[:1], "a number")


class _Member(NamedTuple):
    """Where in a text a member of its object is: ``"name": value``."""

    name: str
    begin: int
    value: int
    end: int


def with_member(text: bytes, name: str, value: bytes) -> bytes:
    """The same object with another value of one member, which it has; without it for ``b""``.

    All else stays as it is written. Of a member that is given more than once, only the last counts,
    and only that is left.

    Args:
        text: an object on one line, in valid JSON and UTF-8.
    """
    source = text.decode()
    members = list(_members(source))
    last = max(index for index, member in enumerate(members) if member.name == name)
    kept: list[str] = []
    for index, member in enumerate(members):
        if member.name != name:
            written = source[member.begin : member.end]
        elif index == last and value:
            written = source[member.begin : member.value] + value.decode()
        else:
            continue
        comma = source[members[index - 1].end : member.begin] if kept else ""
        kept.append(comma + written)
    head, tail = source[: members[0].begin], source[members[-1].end :]
    return "".join((head, *kept, tail)).encode()


def _members(source: str) -> Iterator[_Member]:
    at = 0
    while (begin := source.find('"', at)) >= 0:
        name, end = _value_at(source, begin)
        value = source.index(":", end) + 1
        while source[value].isspace():
            value += 1
        _, at = _value_at(source, value)
        yield _Member(name, begin, value, at)
