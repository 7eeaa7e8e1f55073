"""Tickets: what a browser's EventSource shows instead of a token, which it cannot send.

A ticket is 256 random bits, good for one use within a short time. Whoever can read the store learns
nothing from it: the record lies under a hash of the ticket, sealed with a key that only the ticket
gives. Knows nothing of Redis but the two calls of `TicketStore`, and nothing of requests.
"""

import re
import secrets
import time
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aionotify.auth.identity import Identity
from aionotify.errors import InvalidToken

_ROUNDED = 0.5  # seconds by which the store may be wrong about how long it keeps something
_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")  # what secrets.token_urlsafe(32) makes


class TicketStore(Protocol):
    """Where tickets lie until they are used. Both calls raise `BrokerError`."""

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        """Keep `record` under `name` for `ttl` seconds."""
        ...

    async def take(self, name: str) -> tuple[bytes, float] | None:
        """Return and remove, in one step, what is kept under `name`.

        And for how many seconds it would have been kept, to half a second.
        """
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What a ticket stands for: an identity, and the token it was given for if there is one.

    `number` is that of the last revocation that was known before that was found out. When the
    ticket was made, to be kept for `ttl` seconds, the identity was good for another `lifetime`
    seconds; None if its end is not known.
    """

    identity: Identity
    token: str | None = field(repr=False)
    number: float = 0.0
    lifetime: float | None = None
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as it is handed out; `expires_in` is in seconds."""

    ticket: str = field(repr=False)
    expires_in: int


class Tickets:
    """Makes tickets and takes them back. `ttl` is in seconds."""

    def __init__(self, store: TicketStore, ttl: int) -> None:
        self._store = store
        self._ttl = ttl

    def adopt(self, other: "Tickets") -> None:
        """Make tickets that last as long as those of `other`."""
        self._ttl = other._ttl

    async def issue(self, grant: Grant) -> Ticket:
        """Make a ticket for `grant`; raise BrokerError when it cannot be stored."""
        ticket = secrets.token_urlsafe(32)
        expires_at = grant.identity.expires_at
        lifetime = None if expires_at is None else expires_at - time.time()
        grant = replace(grant, lifetime=lifetime, ttl=self._ttl)
        sealed = _cipher(ticket).encrypt(_NONCE, msgspec.msgpack.encode(grant), None)
        await self._store.put(_name(ticket), sealed, self._ttl)
        return Ticket(ticket, self._ttl)

    async def redeem(self, ticket: str) -> Grant:
        """Use up `ticket` and return what it stands for.

        Raises InvalidToken when it is none, was used or has expired, and BrokerError.
        """
        if _TICKET.fullmatch(ticket) is None:
            raise InvalidToken("the ticket is not valid")
        taken = await self._store.take(_name(ticket))
        if taken is None:
            raise InvalidToken("the ticket is not valid")
        sealed, left = taken
        try:
            opened = _cipher(ticket).decrypt(_NONCE, sealed, None)
        except InvalidTag:
            raise InvalidToken("the ticket is not valid") from None
        grant = msgspec.msgpack.decode(opened, type=Grant)
        if grant.lifetime is None:
            return grant
        # Whoever made it may have another clock. How long ago that was, the store says.
        lifetime = grant.lifetime - (grant.ttl - left + _ROUNDED)
        if lifetime <= 0:
            raise InvalidToken("the token behind the ticket has expired")
        identity = replace(grant.identity, expires_at=time.time() + lifetime, ask_at=None)
        return replace(grant, identity=identity)


# Two hashes of a ticket that say nothing about each other: one is seen by the store, one is not.
# A random key needs no salt and no stretching.
def _name(ticket: str) -> str:
    return blake2b(ticket.encode(), digest_size=32, person=b"aionotify name").hexdigest()


def _cipher(ticket: str) -> AESGCM:
    return AESGCM(blake2b(ticket.encode(), digest_size=32, person=b"aionotify seal").digest())


_NONCE = bytes(12)  # constant, because each key seals one message
