"""Groups: names under which an event reaches many users, and the shards in which they lie.

A stream may be in a hundred groups, and its cursor has room for few positions. So groups lie in a
few shards, by their names; all groups of a shard are given positions by one counter, and a stream
has one position for all that are in it.

Each receiver of an event, user or group, has a mark of fixed length. The copy that is for a group
carries the marks of the receivers before it: a stream that is one of those passes over the copy. So
nobody learns a name from it, and a thousand names do not fill a group's inbox.
"""

import base64
from collections.abc import Iterable, Iterator
from hashlib import blake2s
from typing import Final, NamedTuple

SHARDS: Final = range(1, 5)  # their numbers
MAX_GROUPS: Final = 100  # of an event: the last copy has the marks of all others
MARK_CHARS: Final = 11  # 64 bits: nobody finds a name that has the mark of another


class GroupId(NamedTuple):
    """A group as the receiver of an event, where it may also be a user (a string)."""

    name: str


Receiver = str | GroupId

Ordered = str | int
"""Whose events have one order, and one position in a cursor: a user's, everyone's (``*``), or those
of a shard, by its number."""


def shard_of(group: str) -> int:
    """The shard in which a group lies."""
    return SHARDS[_digest(GroupId(group))[-1] % len(SHARDS)]


def mark(receiver: Receiver) -> bytes:
    """What stands for a receiver in copies: eleven letters, digits, ``-`` and ``_``."""
    return base64.urlsafe_b64encode(_digest(receiver))[:MARK_CHARS]


def marks(receivers: Iterable[Receiver]) -> bytes:
    """The marks of several, one after the other; `each_mark` takes them apart."""
    return b"".join(map(mark, receivers))


def each_mark(marks: bytes) -> Iterator[bytes]:
    """Yield each of some marks."""
    for start in range(0, len(marks), MARK_CHARS):
        yield marks[start : start + MARK_CHARS]


def _digest(receiver: Receiver) -> bytes:
    is_user = isinstance(receiver, str)
    name = receiver if isinstance(receiver, str) else receiver.name
    return blake2s(name.encode(), digest_size=8, person=b"user" if is_user else b"group").digest()
