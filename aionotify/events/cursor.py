"""Cursors: where a stream is in its inboxes.

A stream reads two inboxes, its user's own and everyone's, and has a position in each; what these
mean is in `aionotify.events.position`.

A cursor travels as the SSE `id:` and comes back as `Last-Event-ID`::

    1.<everyone>.<own>.<tag>      1.006446a03fd2c8.006446a03f9c41.k3xq

Both positions are 14 hexadecimal digits. Equal lengths mean that a broadcast is encoded once, and
only the middle of it is filled in for each user. The tag ties a cursor to the user it was given
to: not a secret (who forges one harms nobody but himself), but a cursor that is used by the next
user of the same browser is recognised. To clients a cursor is opaque.
"""

import itertools
import re
from hashlib import blake2s
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"1\.([0-9a-f]{14})\.([0-9a-f]{14})\.([a-z2-7]{4})", re.ASCII)
MAX_CHARS: Final = 128
# Pairs of letters of base32; base64.b32encode would take longer than the hash.
_PAIRS: Final = [
    bytes(pair) for pair in itertools.product(b"abcdefghijklmnopqrstuvwxyz234567", repeat=2)
]


class Cursor(NamedTuple):
    """Positions after which a stream goes on, in microseconds."""

    everyone: int
    own: int


def tag(user_id: str) -> bytes:
    """Four characters that differ between users (with odds of a million to one)."""
    digest = blake2s(user_id.encode(), digest_size=3, person=b"cursor").digest()
    bits = int.from_bytes(digest) >> 4
    return _PAIRS[bits >> 10] + _PAIRS[bits & 1023]


def everyone_part(position: int) -> bytes:
    """The beginning of a cursor: version and the position in everyone's inbox."""
    return b"1.%014x." % position


def own_part(position: int, tag: bytes) -> bytes:
    """The end of a cursor: the position in the user's own inbox, and the user's tag."""
    return b"%014x.%b" % (position, tag)


def parse(text: str, user_id: str) -> Cursor | None:
    """The cursor in a `Last-Event-ID`, or None when it is not one that `user_id` was given."""
    match = _FORM.fullmatch(text)
    if match is None or match[3].encode() != tag(user_id):
        return None
    return Cursor(int(match[1], 16), int(match[2], 16))
