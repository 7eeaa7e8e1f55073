"""Who may publish: keys that applications hold, compared in constant time.

Knows keys, rights and prefixes; not what is published.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from aionotify.config import PublishKey
from aionotify.errors import Forbidden


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The holder of a key.

    Attributes:
        rights: what the key allows.
        prefix: what users must begin with; empty for no limit.
    """

    rights: frozenset[str]
    prefix: str = ""

    def check_right(self, right: str) -> None:
        """Raise Forbidden if the key does not allow this."""
        if right not in self.rights:
            raise Forbidden(f"this key does not have the right {right!r}")

    def check_recipient(self, recipient: str) -> None:
        """Raise Forbidden if the key is not for `recipient`, a user id, ``"*"`` or a group."""
        if not recipient.startswith(self.prefix):
            raise Forbidden(f"this key is for recipients that begin with {self.prefix!r}")


class PublishKeys:
    """All keys that are good now; several, so that one can be replaced without a pause."""

    def __init__(self, keys: Iterable[PublishKey]) -> None:
        # Digests are all of one length, so not even a key's length shows in the time it takes.
        self._holders = tuple((_digest(key.key), KeyHolder(key.rights, key.prefix)) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._holders)

    def allow(self, right: str) -> bool:
        """Whether any of them does."""
        return any(right in holder.rights for _, holder in self._holders)

    def match(self, token: str) -> KeyHolder | None:
        """Return the holder whose key `token` is; as slow for a wrong one as for a right one."""
        given, found = _digest(token), None
        for digest, holder in self._holders:
            if compare_digest(digest, given):
                found = holder
        return found


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
