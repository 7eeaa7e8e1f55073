"""The names of our keys and channels in Redis.

Redis has keys in databases, but pub/sub knows none: what is published by a client of one is heard
by those of all. So channels have the number of the database in their names, and keys do not.
"""

from typing import Final, Self

from aionotify.config import RedisConfig
from aionotify.events.group import GroupId, Ordered, Receiver, shard_of

_EPHEMERAL: Final = "push_notifications"
_ESCAPES: Final = {ord("%"): "%25", ord("{"): "%7B", ord("}"): "%7D"}


class Keys:
    """Our keys and channels under one prefix.

    The braces are a hash tag, so that all that belongs to one recipient lies in one slot of a
    cluster. A recipient is whatever the application calls its users: braces in it are escaped, or
    the keys of one user could be made to be another's. All groups of a shard lie in one slot, too,
    whose tag no user can have.

    Args:
        channel: of ephemeral events; None for the one that is usual in this database.
        database: the number of the database in which the keys are.
    """

    def __init__(self, prefix: str, channel: str | None = None, database: int = 0) -> None:
        mark = f"@{database}" if database else ""
        self.ephemeral = _EPHEMERAL + mark if channel is None else channel
        self._channels = prefix + mark
        self.control = f"{self._channels}:control"
        # What scripts about tokens touch together lies in one slot of a cluster, too.
        self.numbers = f"{prefix}:auth{{0}}:numbers"
        self.revoked = f"{prefix}:auth{{0}}:revoked"
        self.epoch = f"{prefix}:epoch"
        self.publish = f"{prefix}:publish"
        self.rejected = f"{prefix}:publish:rejected"
        self.publish_lease = f"{prefix}:publish:lease"
        self.probe_stream = f"{prefix}:check:stream"
        self.presence_lease = f"{prefix}:presence{{0}}:lease"
        self.presence_posted = f"{prefix}:presence{{0}}:posted"
        self.presence_events = f"{prefix}:presence{{0}}:events"
        self.away_due = f"{prefix}:away{{0}}:due"
        self.away_again = f"{prefix}:away{{0}}:again"
        self.away_lease = f"{prefix}:away:lease"
        self.away_refused = f"{prefix}:away:refused"
        self._prefix = prefix

    @classmethod
    def of(cls, config: RedisConfig) -> Self:
        """Return the names that all who have this configuration use."""
        return cls(config.prefix, config.channel, config.database)

    def live(self, of: Receiver | Ordered) -> str:
        """The channel of a recipient's durable events; a group's is that of its shard."""
        return f"{self._channels}:{_tag(of)}"

    def inbox(self, of: Receiver | Ordered) -> str:
        """The list of a recipient's events, or a group's; of a shard, the list of its positions."""
        if isinstance(of, str):
            return f"{self._prefix}:{_tag(of)}:inbox"
        if isinstance(of, int):
            return f"{self._prefix}:{_tag(of)}:positions"
        return f"{self._prefix}:{_tag(of)}:{_braced(of.name)}:inbox"

    def away(self, user_id: str) -> str:
        """The positions of a user's events that wait to be written, or else handed on."""
        return f"{self._prefix}:{_tag(user_id)}:away"

    def away_events(self, user_id: str) -> str:
        return f"{self.away(user_id)}:events"

    def read(self, user_id: str) -> str:
        """What a user has read."""
        return f"{self._prefix}:{_tag(user_id)}:read"

    def idempotency(self, receiver: Receiver, key: str) -> str:
        if isinstance(receiver, str):
            return f"{self._prefix}:{_tag(receiver)}:id:{key}"
        return f"{self._prefix}:{_tag(receiver)}:{_braced(receiver.name)}:id:{key}"

    def collapse(self, receiver: Receiver) -> str:
        """Where the event of each collapse key is in the receiver's inbox."""
        if isinstance(receiver, str):
            return f"{self._prefix}:{_tag(receiver)}:collapse"
        return f"{self._prefix}:{_tag(receiver)}:{_braced(receiver.name)}:collapse"

    def groups(self, user_id: str) -> str:
        """The groups that a user was put in."""
        return f"{self._prefix}:{_tag(user_id)}:groups"

    def members(self, group: str) -> str:
        """The users who were put in a group."""
        return f"{self._prefix}:{_tag(GroupId(group))}:{_braced(group)}:members"

    def answer(self, name: str) -> str:
        return f"{self._prefix}:auth{{0}}:answer:{name}"

    def ticket(self, digest: str) -> str:
        return f"{self._prefix}:ticket:{digest}"

    def inspection(self, name: str) -> str:
        """The list in which answers to one question are collected."""
        return f"{self._prefix}:inspection:{name}"

    def presence(self, node: str) -> tuple[str, str, str, str, str]:
        """What a script about presence touches together: see presence_tracker.lua."""
        common = f"{self._prefix}:presence{{0}}"
        return (
            f"{common}:nodes",
            f"{common}:node:{node}",
            f"{common}:users",
            f"{common}:leaving",
            self.presence_events,
        )

    def check(self, name: str) -> str:
        """The channel on which ``aionotify check`` hears itself."""
        return f"{self._channels}:check:{name}"


def _tag(of: Receiver | Ordered) -> str:
    if isinstance(of, str):
        return _braced(of)
    return f"{{%g{shard_of(of.name) if isinstance(of, GroupId) else of}}}"


def _braced(name: str) -> str:
    return f"{{{name.translate(_ESCAPES)}}}"
