"""One answer of the main host, as it lies in the answer store: what is in it, and how it is sealed.

Pure: bytes in, values out.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, NamedTuple, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE: Final = 12  # bytes
MAX_SEALED: Final = 8192  # bytes; a hundred groups fit whose names take 70 each

Kind = Literal["refused", "answered", "opened", "ended"]


class Write(NamedTuple):
    """What is to become of one record.

    Attributes:
        name: which record.
        kind: the token was refused; here is an answer; the node's first stream with the token has
            been opened; its last one has ended, and does not move to another node.
        number: of an answer, what the counter stood at before the question.
        at: of an answer, when the question was put, in microseconds by Redis' clock.
        ttl: of an answer, for how many seconds it is of use.
        sealed: the answer.
    """

    name: str
    kind: Kind
    number: int = 0
    at: int = 0
    ttl: int = 0
    sealed: bytes = b""


class Record(NamedTuple):
    """An answer as it lies there, and whether some node has a stream open with the token."""

    sealed: bytes
    is_open: bool


class Reply(NamedTuple):
    """What the store says each time.

    Attributes:
        secret: of the installation. If it is another than the one by which records were named,
            nothing was done.
        number: what the counter stands at.
        revoked: the number of the last revocation.
        now: seconds by Redis' clock.
        records: those that were asked for, None for what is not there.
    """

    secret: bytes
    number: int
    revoked: int
    now: float
    records: Sequence[tuple[bytes, bool] | None]


class AnswerStore(Protocol):
    """Where answers lie."""

    async def exchange(
        self,
        secret: bytes,
        writes: Sequence[tuple[str, str, int, int, int, bytes]],
        names: Sequence[str],
        keep: float,
    ) -> tuple[bytes, int, int, float, Sequence[tuple[bytes, bool] | None]]:
        """Carry out each `Write`, then read the named records, in one step; return a `Reply`.

        `keep` is for how many seconds numbers are to be remembered. Raises `BrokerError`.
        """
        ...


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed. Of what later versions append, nothing is read.

    Times are in seconds by Redis' clock: when it was asked, and when the token ends, infinite when
    that is not known. `number` is what the counter stood at before the question. `groups` are those
    of the user by that answer; versions before this one write none.
    """

    user_id: str
    number: int
    at: float
    ends: float
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """A token, and the address of the main host that is asked about it."""

    host: str
    token: str = field(repr=False)

    def name(self, secret: bytes) -> str:
        """Under which name its record lies."""
        return self._hash(secret, b"answer's name", 16).hex()

    def seal(self, answer: Answer, secret: bytes) -> bytes:
        """Make a record's content, which is good under the record's name alone."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher(secret).encrypt(
            nonce, msgspec.msgpack.encode(answer), self.name(secret).encode()
        )

    def unseal(self, sealed: bytes, secret: bytes) -> Answer | None:
        """Return what was sealed, or None when it was not so, or makes no sense."""
        if not _NONCE < len(sealed) <= MAX_SEALED:
            return None
        nonce, rest, name = sealed[:_NONCE], sealed[_NONCE:], self.name(secret).encode()
        try:
            opened = self._cipher(secret).decrypt(nonce, rest, name)
            return msgspec.msgpack.decode(opened, type=Answer)
        except (InvalidTag, msgspec.DecodeError):
            return None

    def _cipher(self, secret: bytes) -> AESGCM:
        return AESGCM(self._hash(secret, b"answer's seal", 32))

    # Both are of no use at another installation, or where another main host is asked.
    def _hash(self, secret: bytes, purpose: bytes, size: int) -> bytes:
        key = blake2b(self.host.encode(), key=blake2b(secret, digest_size=32).digest()).digest()
        token = self.token.encode()
        return blake2b(token, key=key, person=purpose, digest_size=size).digest()
