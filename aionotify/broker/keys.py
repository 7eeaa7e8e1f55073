"""The names of our keys and channels in Redis."""

from typing import Final

_ESCAPES: Final = {ord("%"): "%25", ord("{"): "%7B", ord("}"): "%7D"}


class Keys:
    """Our keys and channels under one prefix.

    The braces are a hash tag, so that all that belongs to one recipient lies in one slot of a
    cluster. A recipient is whatever the application calls its users: braces in it are escaped, or
    the keys of one user could be made to be another's.
    """

    def __init__(self, prefix: str, channel: str) -> None:
        self.ephemeral = channel
        self.control = f"{prefix}:control"
        # What scripts about tokens touch together lies in one slot of a cluster, too.
        self.numbers = f"{prefix}:auth{{0}}:numbers"
        self.revoked = f"{prefix}:auth{{0}}:revoked"
        self.epoch = f"{prefix}:epoch"
        self._prefix = prefix

    def live(self, recipient_id: str) -> str:
        """The channel of a recipient's durable events."""
        return f"{self._prefix}:{{{recipient_id.translate(_ESCAPES)}}}"

    def inbox(self, recipient_id: str) -> str:
        return f"{self.live(recipient_id)}:inbox"

    def idempotency(self, recipient_id: str, key: str) -> str:
        return f"{self.live(recipient_id)}:id:{key}"

    def answer(self, name: str) -> str:
        return f"{self._prefix}:auth{{0}}:answer:{name}"

    def ticket(self, digest: str) -> str:
        return f"{self._prefix}:ticket:{digest}"
