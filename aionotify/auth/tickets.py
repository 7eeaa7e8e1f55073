"""Tickets: what a browser's EventSource shows instead of a token, which it cannot send.

A ticket is 256 random bits, good for one use within a short time. It is worth nothing to those who
can read the store: the record lies under a hash of the ticket, sealed with a key that only the
ticket gives. Knows nothing of Redis but the two calls of `TicketStore`.
"""

import re
import secrets
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import msgspec
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.identity import Authenticator, Identity, revalidate
from aionotify.auth.stats import AuthStats
from aionotify.errors import AuthError, AuthUnavailable, BrokerError, InvalidScheme, InvalidToken

_TICKET = re.compile(r"[A-Za-z0-9_-]{43}")  # what secrets.token_urlsafe(32) makes


class TicketStore(Protocol):
    """Where tickets lie until they are used. Both calls raise `BrokerError`."""

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        """Keep `record` under `name` for `ttl` seconds."""
        ...

    async def take(self, name: str) -> bytes | None:
        """Return and remove, in one step, what is kept under `name`."""
        ...


class _Grant(msgspec.Struct, frozen=True, array_like=True):
    """What a ticket stands for: the identity that it was given to, and the token if there is one."""

    user_id: str
    expires_at: float | None
    token: str | None

    @property
    def identity(self) -> Identity:
        return Identity(self.user_id, self.expires_at)


_GRANT = web.RequestKey("aionotify_ticket_grant", _Grant)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket as it is handed out; `expires_in` in seconds."""

    ticket: str
    expires_in: int


class Tickets:
    """Makes tickets and takes them back. `ttl` is in seconds."""

    def __init__(self, store: TicketStore, ttl: int) -> None:
        self._store, self._ttl = store, ttl

    async def issue(self, identity: Identity, token: str | None) -> Ticket:
        """Make a ticket for `identity`, which showed `token`."""
        ...

