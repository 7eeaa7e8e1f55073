"""Who may publish: keys that applications hold, compared in constant time.

Knows keys and prefixes; not what is published.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from aionotify.config import PublishKey


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The holder of a key. `prefix` is what recipients must begin with; empty for no limit."""

    prefix: str = ""

    def may(self, recipient: str) -> bool:
        """Whether the holder may send to `recipient`, a user id or ``"*"``."""
        return recipient.startswith(self.prefix)


class PublishKeys:
    """All keys that are good now; several, so that one can be replaced without a pause."""

    def __init__(self, keys: Iterable[PublishKey]) -> None:
        # Digests are all of one length, so not even a key's length shows in the time it takes.
        self._holders = tuple((_digest(key.key), KeyHolder(key.prefix)) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._holders)

    def match(self, token: str) -> KeyHolder | None:
        """Return the holder whose key `token` is; as slow for a wrong one as for a right one."""
        given, found = _digest(token), None
        for digest, holder in self._holders:
            if compare_digest(digest, given):
                found = holder
        return found


def _digest(text: str) -> bytes:
    return sha256(text.encode()).digest()
