"""Cursors: where a stream is in its inboxes.

A stream reads two inboxes, its user's own and everyone's, and those of its groups, which lie in
four shards. It has a position in both of the former, and in each shard; what these mean is in
`aionotify.events.position`.

A cursor travels as the SSE `id:` and comes back as `Last-Event-ID`::

    2.<epoch>.<everyone>.<own>.<tag>      2.q5hr2c.006446a03fd2c8.006446a03f9c41.k3xq
    2.<epoch>.<everyone>.<own>.<tag>.all  the same, with an event that was for everyone
    3.<epoch>.<everyone>.<shard 1>.<shard 2>.<shard 3>.<shard 4>.<own>.<tag>
    3.<epoch>.<everyone>.<shard 1>.<shard 2>.<shard 3>.<shard 4>.<own>.<tag>.g2

The last two are those of a stream with groups, the last with an event of the second shard. In a
shard in which it has none its position is 0: if its user has some there when it comes back, it
begins with what is published then.

The epoch names the data set in Redis that the positions are of; a cursor that was given before any
was heard of has hyphens there, and those of version 1 have none. All positions are 14 hexadecimal
digits. Equal lengths mean that a broadcast is encoded once, and only the end of it is filled in for
each user. The tag ties a cursor to the user it was given
to: not a secret (who forges one harms nobody but himself), but a cursor that is used by the next
user of the same browser is recognised. What it ends with says in which inbox the event is that it
came with (see `aionotify.events.event_id`); for all else a cursor is opaque to clients.
"""

import itertools
import re
from collections.abc import Iterable
from hashlib import blake2s
from typing import Final, NamedTuple

from aionotify.events.group import SHARDS

EPOCH_CHARS: Final = 6
EPOCH_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_NO_EPOCH: Final = "-" * EPOCH_CHARS
_FORM: Final = re.compile(
    r"(?:1|[23]\.([a-z2-7]{6}|-{6}))\.([0-9a-f]{14})((?:\.[0-9a-f]{14}){4})?\.([0-9a-f]{14})"
    r"\.([a-z2-7]{4})(?:\.(all|g[1-4]))?",
    re.ASCII,
)
MAX_CHARS: Final = 128
PLACES: Final = 6  # in a cursor: everyone's inbox, the user's own, four shards
EVERYONE_MARK: Final = b"all"
EVERYONE_END: Final = b"." + EVERYONE_MARK
"""What a cursor ends with that comes with an event for everyone."""
# Pairs of letters of base32; base64.b32encode would take longer than the hash.
_PAIRS: Final = [bytes(pair) for pair in itertools.product(EPOCH_LETTERS.encode(), repeat=2)]


class Cursor(NamedTuple):
    """Positions after which a stream goes on, in microseconds; the last four are of shards."""

    everyone: int
    own: int
    shard_1: int = 0
    shard_2: int = 0
    shard_3: int = 0
    shard_4: int = 0

    def moved(self, place: int, position: int) -> "Cursor":
        """The same with another position in one inbox."""
        positions = list(self)
        positions[place] = position
        return Cursor(*positions)


def tag(user_id: str) -> bytes:
    """Four characters that differ between users (with odds of a million to one)."""
    digest = blake2s(user_id.encode(), digest_size=3, person=b"cursor").digest()
    bits = int.from_bytes(digest) >> 4
    return _PAIRS[bits >> 10] + _PAIRS[bits & 1023]


def place_of(shard: int) -> int:
    """The place of a shard's position in a `Cursor`."""
    return PLACES - len(SHARDS) + SHARDS.index(shard)


def everyone_part(epoch: str | None, position: int, shards: Iterable[int] = ()) -> bytes:
    """The beginning of a cursor: version, epoch if that is known, position in everyone's inbox.

    That of a stream with groups also has positions in all four shards.
    """
    head = b"%b.%014x." % ((epoch or _NO_EPOCH).encode(), position)
    return (
        b"2." + head if not shards else b"3." + head + b"%014x.%014x.%014x.%014x." % tuple(shards)
    )


def own_part(position: int, tag: bytes) -> bytes:
    """The end of a cursor: the position in the user's own inbox, and the user's tag."""
    return b"%014x.%b" % (position, tag)


def parse(text: str, user_id: str) -> Cursor | None:
    """The cursor in a `Last-Event-ID`, or None when it is not one that `user_id` was given."""
    match = _matched(text)
    if match is None or match[5].encode() != tag(user_id):
        return None
    return _cursor(match)


def epoch_of(text: str) -> str | None:
    """The epoch in a cursor, or None when there is none in it."""
    match = _matched(text)
    return None if match is None or match[1] == _NO_EPOCH else match[1]


def shard_end(shard: int) -> bytes:
    """What a cursor ends with that comes with an event of a shard."""
    return b".%b" % shard_mark(shard)


def shard_mark(shard: int) -> bytes:
    """The mark of a shard in the ids of its events."""
    return b"g%d" % shard


def position_at(text: str) -> tuple[str, int] | None:
    """Of the event that came with a cursor, the mark of its inbox and its position there."""
    match = _matched(text)
    if match is None:
        return None
    at, end = _cursor(match), match[6]
    if end is None:
        return match[5], at.own
    return end, at.everyone if end == EVERYONE_MARK.decode() else at[place_of(int(end[1:]))]


def _matched(text: str) -> re.Match[str] | None:
    """The parts of a cursor; those of shards are in one of version 3, and in no other."""
    match = _FORM.fullmatch(text)
    if match is None or (match[3] is not None) != (text[0] == "3"):
        return None
    return None if (match[6] or "").startswith("g") and match[3] is None else match


def _cursor(match: re.Match[str]) -> Cursor:
    shards = (match[3] or "").split(".")[1:]
    return Cursor(int(match[2], 16), int(match[4], 16), *(int(each, 16) for each in shards))
