"""Who a stream belongs to, and the protocols by which that is found out.

Values and protocols only: nothing here asks anybody anything.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Protocol, runtime_checkable

from aiohttp import web

from aionotify.errors import AuthFailed

MAX_GROUPS = 100  # of one user, unless `stream.max_groups` says otherwise
MAX_USER_ID = 256  # characters, as long as a recipient_id may be
_QUOTED = 40  # characters of a wrong name in an error

# C0, DEL and C1; and lone surrogates, which JSON can carry and UTF-8 (our Redis keys) cannot.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, as somebody we trust has named them.

    `user_id` may be given as an integer; it is text afterwards, and always what `user_id_from`
    accepts. So may the names of `groups`, which is given as any collection and is a frozenset
    afterwards: those that the user belongs to by the word of whoever named them.
    Times are in unix seconds (``time.time()``): `expires_at` is None when the end is not
    known, `ask_at` when it will do to ask about a stream of theirs every `auth.revalidate` seconds.
    Otherwise that is when to ask first, if it is sooner.

    Raises AuthFailed for what cannot be a user id or the name of a group.
    """

    user_id: str
    _: KW_ONLY
    groups: frozenset[str] = frozenset()
    expires_at: float | None = None
    ask_at: float | None = None

    def __post_init__(self) -> None:
        # Whoever makes one, embedders too: 42 would be nobody's stream, and "*" everybody's.
        object.__setattr__(self, "user_id", user_id_from(self.user_id))
        if self.groups or not isinstance(self.groups, frozenset):
            object.__setattr__(self, "groups", groups_from(self.groups))


class Authenticator(Protocol):
    """Says who a request is from.

    An authenticator with ``async def start(self)`` or ``async def close(self)`` has them called
    with the application's own start and end.
    """

    async def authenticate(self, request: web.Request) -> Identity:
        """Return the identity behind `request`; raise an `AuthError` if there is none."""
        ...


@runtime_checkable
class Revalidator(Protocol):
    """An authenticator that remembers answers, and so can also be asked for a fresh one."""

    async def revalidate(self, request: web.Request) -> Identity:
        """Like `authenticate`, but not from memory.

        `request` is the one that opened the stream. `InvalidToken` is a definite refusal; any
        other `AuthError` says nothing about the user.
        """
        ...


async def revalidate(authenticator: Authenticator, request: web.Request) -> Identity:
    """Ask again about the request that opened a stream, afresh where `authenticator` can."""
    if isinstance(authenticator, Revalidator):
        return await authenticator.revalidate(request)
    return await authenticator.authenticate(request)


def user_id_from(value: object) -> str:
    """Check a user id and return it as text; ``42`` and ``"42"`` are the same user.

    A user id is what events name in `recipient_id`: a string of 1 to 256 characters or an
    integer, without control characters, and never ``"*"``, which is everyone.

    Raises AuthFailed: what names users has named something that cannot be one.
    """
    return _name_from(value, "the user id")


def groups_from(value: object, at_most: int | None = None) -> frozenset[str]:
    """Check the names of `at_most` groups and return them as text.

    A group has a name as a user has an id. `value` is a list, as JSON has it, or another collection
    that is neither a mapping nor text.

    Raises AuthFailed, which names the first that cannot be a group.
    """
    if not isinstance(value, Collection) or isinstance(value, str | bytes | bytearray | Mapping):
        raise AuthFailed("the groups are not a list")
    if at_most is not None and len(value) > at_most:
        raise AuthFailed(f"there are {len(value)} groups, at most {at_most} allowed")
    return frozenset(_name_from(each, f"the group {_shown(each)}") for each in value)


def _shown(value: object) -> str:
    """A name as an error shows it, whatever it is."""
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    return repr(value if len(value) <= _QUOTED else f"{value[:_QUOTED]}…")


def _name_from(value: object, what: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        # A decimal of unbounded length costs quadratic time to write out.
        value = str(value) if value.bit_length() <= 1024 else ""
    if not isinstance(value, str):
        raise AuthFailed(f"{what} is neither a string nor an integer")
    if not 1 <= len(value) <= MAX_USER_ID:
        raise AuthFailed(f"{what} is not 1 to {MAX_USER_ID} characters long")
    if value == "*":
        raise AuthFailed(f'{what} is "*", which stands for everyone')
    if _FORBIDDEN.search(value):
        raise AuthFailed(f"{what} contains a control character")
    return value
