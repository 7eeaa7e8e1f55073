"""Which groups each stream has: those that its token grants and those that its user was put in.

Of these a stream may have asked for a part. What the token grants comes with an `Identity`, and
again with each revalidation. What a user was put in is read when their first stream opens, kept for
as long as they have one here, changed by what is heard, and read again whenever something may not
have been heard. Streams that have no groups cost nothing here.

Knows neither requests nor Redis.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from aionotify import tasks
from aionotify.auth.revocations import Revocations
from aionotify.errors import BrokerError, GroupNotGranted
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Recipient
from aionotify.telemetry.sampled import Sampled

_TOGETHER: Final = 500  # users that are read again at a time; the others wait for their turn
_RETRY: Final = 0.5  # seconds

_NONE: Final[frozenset[str]] = frozenset()


class GroupedStream(Protocol):
    """What is asked of a stream here."""

    recipient: Recipient

    def regroup(self, groups: frozenset[str]) -> None:
        """Have these groups from now on."""


class MembershipStore(Protocol):
    """Where it is kept which groups users were put in."""

    def groups_of(self, user_id: str) -> Awaitable[frozenset[str]]:
        """The groups of a user; raises BrokerError."""
        ...


@dataclass(slots=True)
class _Share:
    """What one stream may have: `granted` by its token, `asked` for; None for all there is."""

    granted: frozenset[str]
    asked: frozenset[str] | None

    def of(self, put: frozenset[str]) -> frozenset[str]:
        groups = self.granted | put
        return groups if self.asked is None else groups & self.asked


class Memberships:
    """The groups of all streams of one node.

    Args:
        hub: has the streams of a user.
        store: has what users were put in; None when nobody is put in any group.
    """

    def __init__(self, hub: Hub, store: MembershipStore | None = None) -> None:
        self._hub = hub
        self._store = store
        self._put: dict[str, frozenset[str]] = {}  # of users who have a stream here
        self._shares: dict[GroupedStream, _Share] = {}  # of streams that have or ask for any
        self._changes = Revocations()  # what was read before one of these may be outdated
        self._outdated: dict[str, None] = {}  # users of whom a change may not have been heard
        self._waiting: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._log = Sampled(logging.getLogger(__name__))

    @property
    def complete(self) -> bool:
        """Whether nobody has to be read again."""
        return self._task is None

    # --- a stream opens and ends ------------------------------------------------------------------

    async def learn(self, user_id: str) -> None:
        """Know what a user was put in, from now on until `left`; raise BrokerError."""
        if self._store is None:
            return
        while user_id not in self._put:
            learned = self._changes.now
            groups = await self._store.groups_of(user_id)
            if not self._changes.since(learned, user_id):
                self._put.setdefault(user_id, groups)

    def choose(
        self, user_id: str, granted: frozenset[str], asked: frozenset[str] | None = None
    ) -> frozenset[str]:
        """Return the groups of a stream that is about to open.

        Args:
            granted: by the token.
            asked: those that the client wants, None for all that it may have.
        """
        return _Share(granted, asked).of(self._put.get(user_id, _NONE))

    def opened(
        self,
        stream: GroupedStream,
        granted: frozenset[str],
        asked: frozenset[str] | None,
        chosen: frozenset[str],
    ) -> None:
        """Take note of a stream that has the groups that were `chosen`.

        By now it may be others that it should have.
        """
        if granted or asked is not None:
            self._shares[stream] = _Share(granted, asked)
        if self._groups(stream) != chosen:
            self._regroup(stream)

    def ended(self, stream: GroupedStream) -> None:
        """A stream is no more."""
        self._shares.pop(stream, None)
        self.left(stream.recipient.id)

    def left(self, user_id: str) -> None:
        """Forget a user who has no stream here any more."""
        if user_id not in self._hub:
            self._put.pop(user_id, None)
            self._outdated.pop(user_id, None)

    # --- what changes meanwhile -------------------------------------------------------------------

    def regrant(self, stream: GroupedStream, granted: frozenset[str]) -> None:
        """Take note of what a stream's token grants by now."""
        share = self._shares.get(stream)
        if share is None:
            self._shares[stream] = _Share(granted, None)
        else:
            share.granted = granted
        self._regroup(stream)

    def heard(self, user_id: str, group: str, *, member: bool) -> None:
        """A user was put in a group, or taken out of it."""
        self._changes.add(user_id)
        if (put := self._put.get(user_id)) is not None:
            self._set(user_id, put | {group} if member else put - {group})

    def grants(self, user_id: str, group: str) -> bool:
        """Whether the token of an open stream of the user grants the group."""
        shares = (self._shares.get(stream) for stream in self._hub.streams_of(user_id))
        return any(share is not None and group in share.granted for share in shares)

    def _set(self, user_id: str, put: frozenset[str]) -> None:
        before, self._put[user_id] = self._put[user_id], put
        if put != before:
            for stream in self._hub.streams_of(user_id):
                self._regroup(stream)

    def _groups(self, stream: GroupedStream) -> frozenset[str]:
        put = self._put.get(stream.recipient.id, _NONE)
        share = self._shares.get(stream)
        return put if share is None else share.of(put)

    def _regroup(self, stream: GroupedStream) -> None:
        stream.regroup(self._groups(stream))

    # --- what may not have been heard -------------------------------------------------------------

    def resync(self) -> None:
        """Read all users again, since something may not have been heard."""
        self._changes.forget(0)
        self._outdated = dict.fromkeys(self._put)
        if self._outdated and self._task is None:
            self._task = asyncio.create_task(self._read_again(), name="aionotify memberships")

    def when_complete(self, call: Callable[[], None]) -> None:
        """Call this once nobody has to be read again, which may be now."""
        if self.complete:
            call()
        else:
            self._waiting.append(call)

    async def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            await tasks.cancelled([self._task])

    async def _read_again(self) -> None:
        assert self._store is not None
        try:
            while self._outdated:
                users = list(islice(self._outdated, _TOGETHER))
                learned = self._changes.now
                found = await asyncio.gather(
                    *map(self._store.groups_of, users), return_exceptions=True
                )
                failed = self._take(zip(users, found, strict=True), learned)
                if failed is not None:
                    self._log.warning("memberships cannot be read", {"reason": str(failed)})
                    await asyncio.sleep(_RETRY)
        finally:
            self._task = None
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    def _take(
        self, found: Iterable[tuple[str, frozenset[str] | BaseException]], learned: int
    ) -> BaseException | None:
        """Take what was read; whoever has to be read once more goes to the end of the line."""
        failed = None
        for user_id, groups in found:
            if user_id not in self._outdated:  # has left meanwhile
                continue
            del self._outdated[user_id]
            if isinstance(groups, BaseException):
                if not isinstance(groups, BrokerError):
                    raise groups
                failed = groups
                self._outdated[user_id] = None
            elif self._changes.since(learned, user_id):
                self._outdated[user_id] = None
            else:
                self._set(user_id, groups)
        return failed


def check_asked(asked: Iterable[str], groups: frozenset[str]) -> None:
    """Raise GroupNotGranted, which names the first that is not among `groups`."""
    for group in asked:
        if group not in groups:
            raise GroupNotGranted(group)
