"""Who was put in which group, in Redis: by user for streams, and by group for lists of members.

The two lie in slots of their own, so a change is made in several steps, between which this process
may die. The user's groups are what counts. A group's members are at least those whose groups say
so, unless somebody died in between; then the same change, made once more, repairs it.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from aionotify.batcher import Batcher
from aionotify.broker.connection.endpoint import replies, translate, translated
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.control import Control, Membership
from aionotify.broker.inspection import Answers, Inspection
from aionotify.broker.keys import Keys
from aionotify.errors import BrokerRefused, GroupFull

GRANTED: Final = b"granted"
"""What a node answers where the token of an open stream grants the group."""

MAX_MEMBERS: Final = 100_000  # of a group; some 10 MB
_MAX_IN_FLIGHT: Final = 500  # users: a millisecond of Redis, which serves others in between
_BATCH_WINDOW: Final = 0.002  # seconds
_LAST: Final = b"\xff"  # after every name in UTF-8


class Removed(NamedTuple):
    """What became of taking a user out of a group.

    Attributes:
        changed: whether they had been put in it.
        answers: of the nodes, each of which has acted on it by then.
    """

    changed: bool
    answers: Answers


class RedisMemberships:
    """All groups that users were put in. All methods raise BrokerUnavailable and BrokerRefused.

    Args:
        execute: carries out commands.
        inspection: collects what nodes answer.
        max_groups: that a user may be put in.
    """

    def __init__(
        self, execute: Execute, keys: Keys, inspection: Inspection, *, max_groups: int
    ) -> None:
        self._execute = execute
        self._keys = keys
        self._inspection = inspection
        self._max_groups = max_groups
        self._script = Script(execute, "membership.lua")
        self._batcher: Batcher[str, frozenset[str]] = Batcher(
            self._read,
            name="aionotify memberships read",
            at_most=_MAX_IN_FLIGHT,
            window=_BATCH_WINDOW,
        )

    def adopt(self, other: "RedisMemberships") -> None:
        """Put a user in as many groups as `other` would."""
        self._max_groups = other._max_groups

    async def put(self, user_id: str, group: str) -> int:
        """Put a user in a group; return how many nodes were told.

        Raises GroupFull too, if the group or the user has as many as there may be.
        """
        members = self._keys.members(group)
        await self._add(members, user_id)
        told, _ = await self._change(user_id, group, member=True)
        if told < 0:
            await self._forget(members, user_id, group)
            raise GroupFull(f"the user is in {self._max_groups} groups, the most that are allowed")
        # Whoever takes the user out at the same time may have been between the two.
        await self._add(members, user_id)
        return told

    async def remove(self, user_id: str, group: str) -> Removed:
        """Take a user out of a group, and wait for the nodes to have done so, for a second."""
        name = secrets.token_hex(8)
        told, changed = await self._change(user_id, group, member=False, name=name)
        await self._forget(self._keys.members(group), user_id, group)
        return Removed(changed, await self._inspection.collect(name, told))

    def groups_of(self, user_id: str) -> "asyncio.Future[frozenset[str]]":
        """The groups that a user was put in. Questions travel together."""
        return self._batcher.submit(user_id)

    async def members(self, group: str, *, prefix: str, after: str, at_most: int) -> Sequence[str]:
        """Return users who were put in a group, in the order of their names' bytes.

        Args:
            prefix: of the users.
            after: the user after whom to begin, or empty.
        """
        first = max(b"[" + prefix.encode(), b"(" + after.encode(), key=lambda each: each[1:])
        last = b"[" + prefix.encode() + _LAST
        key = self._keys.members(group)
        command = ("ZRANGE", key, first, last, "BYLEX", "LIMIT", 0, at_most)
        [found] = await replies(self._execute, command)
        return [user.decode(errors="replace") for user in found]

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._batcher.close()
        await self._script.close()

    async def _change(
        self, user_id: str, group: str, *, member: bool, name: str | None = None
    ) -> tuple[int, bool]:
        change = Control(membership=Membership(user_id, group, member, name))
        told, changed = await self._script.call(
            (self._keys.groups(user_id),),
            (
                self._keys.control,
                msgspec.json.encode(change),
                group,
                int(member),
                self._max_groups,
            ),
        )
        return int(told), bool(changed)

    async def _add(self, members: str, user_id: str) -> None:
        added, count = await replies(
            self._execute, ("ZADD", members, 0, user_id), ("ZCARD", members)
        )
        if added and count > MAX_MEMBERS:
            await replies(self._execute, ("ZREM", members, user_id))
            raise GroupFull(f"the group has {MAX_MEMBERS} members, the most that are allowed")

    async def _forget(self, members: str, user_id: str, group: str) -> None:
        """Take a user out of a group's members, unless somebody has put them in meanwhile."""
        await replies(self._execute, ("ZREM", members, user_id))
        if group in await self.groups_of(user_id):
            await replies(self._execute, ("ZADD", members, 0, user_id))

    async def _read(self, user_ids: list[str]) -> list[frozenset[str] | Exception]:
        commands = [("ZRANGE", self._keys.groups(id), 0, -1) for id in user_ids]
        with translated():
            found = await self._execute(commands)
        return [_groups(each) for each in found]


def _groups(reply: object) -> frozenset[str] | Exception:
    if isinstance(reply, Exception):
        return translate(reply)
    try:
        return frozenset(group.decode() for group in reply)  # type: ignore[attr-defined]
    except (TypeError, AttributeError, UnicodeDecodeError):
        return BrokerRefused("what is kept of a user's groups is not what a node writes")
