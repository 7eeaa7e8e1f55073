"""What nodes that leave say about tokens: the messages, and how they are sealed.

A record lies under a hash of its token and is sealed with a key that only the token gives, so
whoever reads the message learns neither the token nor whose it is. Both hashes are salted with the
name of the node's present life: what is found out about one deploy is of no use for another. Pure:
bytes in, values out.
"""

from hashlib import blake2b
from typing import Annotated, Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from aionotify.errors import InvalidEvent

MAX_RECORDS: Final = 200  # in one message, which then has about 40 kB
_SOURCE: Final = 16  # bytes, as long as BLAKE2b's salt may be
_NAME: Final = 16  # bytes
_SEALED: Final = 2048  # bytes; a user id of 256 characters takes half of that


class Vouched(msgspec.Struct, frozen=True, array_like=True):
    """What a node knows of a token. All times are in seconds from when it was written.

    Attributes:
        user_id: whose it is.
        age: for how long the main host's answer has been known.
        due: until when it is to be asked about again.
        lifetime: until when it is good, infinite when that is not known.
    """

    user_id: str
    age: float
    due: float
    lifetime: float


class Record(NamedTuple):
    """One `Vouched` as it travels."""

    name: Annotated[bytes, Meta(min_length=_NAME, max_length=_NAME)]
    sealed: Annotated[bytes, Meta(max_length=_SEALED)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Records of one node.

    Attributes:
        source: names the node's present life, at random.
        number: of this message among those of its source, from 0 on.
        heard: the last of its own messages that the source had heard back when it wrote this, or
            -1. What all nodes were told before that one, the source knew; of what they were told
            after it, perhaps not.
        hold: for how many seconds the records may be needed.
    """

    source: Annotated[bytes, Meta(min_length=_SOURCE, max_length=_SOURCE)]
    number: Annotated[int, Meta(ge=0, le=2**53)]
    heard: Annotated[int, Meta(ge=-1)]
    hold: Annotated[float, Meta(ge=0)]
    records: Annotated[list[Record], Meta(max_length=MAX_RECORDS)] = []

    def encoded(self) -> bytes:
        """As it is sent."""
        return msgspec.msgpack.encode(self)


def decode(data: bytes) -> Message:
    """Return the message in `data`; raise InvalidEvent for what is none."""
    try:
        return msgspec.msgpack.decode(data, type=Message)
    except msgspec.DecodeError:
        raise InvalidEvent({"handed_over": "is not what a node says that leaves"}) from None


def name(token: str, source: bytes) -> bytes:
    """Return under which name a source's record about `token` goes."""
    return _hash(token, source, b"aionotify moved", _NAME)


def seal(vouched: Vouched, token: str, source: bytes, number: int) -> Record:
    """Make the record for message `number`; there may be one for each token in a message."""
    sealed = _cipher(token, source).encrypt(_nonce(number), msgspec.msgpack.encode(vouched), None)
    return Record(name(token, source), sealed)


def unseal(sealed: bytes, token: str, source: bytes, number: int) -> Vouched | None:
    """Return what was sealed, or None when it was not so, or makes no sense."""
    try:
        opened = _cipher(token, source).decrypt(_nonce(number), sealed, None)
        return msgspec.msgpack.decode(opened, type=Vouched)
    except (InvalidTag, msgspec.DecodeError):
        return None


def _cipher(token: str, source: bytes) -> AESGCM:
    return AESGCM(_hash(token, source, b"aionotify trust", 32))


def _hash(token: str, source: bytes, purpose: bytes, size: int) -> bytes:
    return blake2b(token.encode(), digest_size=size, salt=source, person=purpose).digest()


def _nonce(number: int) -> bytes:
    # A key is for one token and one source, whose messages have numbers: no nonce comes twice.
    return number.to_bytes(12, "big")
