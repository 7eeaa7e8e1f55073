"""Cursors: where a stream is in its inboxes.

A stream reads two inboxes, its user's own and everyone's, and has a position in each; what these
mean is in `aionotify.events.position`.

A cursor travels as the SSE `id:` and comes back as `Last-Event-ID`::

    2.<epoch>.<everyone>.<own>.<tag>      2.q5hr2c.006446a03fd2c8.006446a03f9c41.k3xq
    2.<epoch>.<everyone>.<own>.<tag>.all  the same, with an event that was for everyone

The epoch names the data set in Redis that the positions are of; a cursor that was given before any
was heard of has hyphens there, and those of version 1 have none. Both positions are 14 hexadecimal
digits. Equal lengths mean that a broadcast is encoded once, and only the end of it is filled in for
each user. The tag ties a cursor to the user it was given
to: not a secret (who forges one harms nobody but himself), but a cursor that is used by the next
user of the same browser is recognised. What it ends with says in which inbox the event is that it
came with (see `aionotify.events.event_id`); for all else a cursor is opaque to clients.
"""

import itertools
import re
from hashlib import blake2s
from typing import Final, NamedTuple

EPOCH_CHARS: Final = 6
EPOCH_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"
_NO_EPOCH: Final = "-" * EPOCH_CHARS
_FORM: Final = re.compile(
    r"(?:1|2\.([a-z2-7]{6}|-{6}))\.([0-9a-f]{14})\.([0-9a-f]{14})\.([a-z2-7]{4})(\.all)?", re.ASCII
)
MAX_CHARS: Final = 128
EVERYONE_MARK: Final = b"all"
EVERYONE_END: Final = b"." + EVERYONE_MARK
"""What a cursor ends with that comes with an event for everyone."""
# Pairs of letters of base32; base64.b32encode would take longer than the hash.
_PAIRS: Final = [bytes(pair) for pair in itertools.product(EPOCH_LETTERS.encode(), repeat=2)]


class Cursor(NamedTuple):
    """Positions after which a stream goes on, in microseconds."""

    everyone: int
    own: int

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


def everyone_part(epoch: str | None, position: int) -> bytes:
    """The beginning of a cursor: version, epoch if that is known, position in everyone's inbox."""
    return b"2.%b.%014x." % ((epoch or _NO_EPOCH).encode(), position)


def own_part(position: int, tag: bytes) -> bytes:
    """The end of a cursor: the position in the user's own inbox, and the user's tag."""
    return b"%014x.%b" % (position, tag)


def parse(text: str, user_id: str) -> Cursor | None:
    """The cursor in a `Last-Event-ID`, or None when it is not one that `user_id` was given."""
    match = _FORM.fullmatch(text)
    if match is None or match[4].encode() != tag(user_id):
        return None
    return Cursor(int(match[2], 16), int(match[3], 16))


def epoch_of(text: str) -> str | None:
    """The epoch in a cursor, or None when there is none in it."""
    match = _FORM.fullmatch(text)
    return None if match is None or match[1] == _NO_EPOCH else match[1]


def position_at(text: str) -> tuple[str, int] | None:
    """Of the event that came with a cursor, the mark of its inbox and its position there."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    if match[5]:
        return EVERYONE_MARK.decode(), int(match[2], 16)
    return match[4], int(match[3], 16)
