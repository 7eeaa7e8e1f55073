"""Where it goes what is heard from Redis: events to the hub, revocations and memberships to all who
go by them.

A revocation that was published while nothing was heard here is read, as soon as something is. If it
is not kept any more, or Redis has lost it, anybody may have been revoked.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from aionotify import tasks
from aionotify.auth.revocations import Revocations
from aionotify.broker.control import Control, ControlChannel, Membership, Question, Revoked
from aionotify.broker.data_set import DataSet
from aionotify.broker.memberships import GRANTED
from aionotify.broker.presence_tracker import PresenceTracker
from aionotify.errors import BrokerError
from aionotify.events.event import EVERYONE, Event
from aionotify.events.group import Ordered
from aionotify.streams.hub import Hub
from aionotify.streams.memberships import Memberships
from aionotify.telemetry.sampled import Sampled

_RETRY: Final = 0.5  # seconds

_log = logging.getLogger(__name__)


class BrokerEvents:
    """A `Sink` for the subscriber. Events go straight to the hub.

    Args:
        missed: called when somebody whose streams are open may have been revoked, and nobody can
            tell who.
        asked: called with each question to all nodes.
        presence: told of when this node hears Redis, if it tells who is here.
        memberships: learn who was put in which group.
        answer: called to answer with a name and what the answer is.
    """

    def __init__(
        self,
        hub: Hub,
        revocations: Revocations,
        control: ControlChannel,
        missed: Callable[[], None] = lambda: None,
        asked: Callable[[Question], None] = lambda question: None,
        presence: PresenceTracker | None = None,
        memberships: Memberships | None = None,
        answer: Callable[[str, bytes], None] = lambda name, answer: None,
    ) -> None:
        self.hold, self.release = hub.hold, hub.release
        self.has = hub.__contains__
        self.has_group = hub.has_group
        self.ephemeral = hub.ephemeral
        self.durable, self.durable_to_group = hub.durable, hub.durable_to_group
        self.notice = hub.notice
        self.asked = asked
        self._memberships = memberships or Memberships(hub)
        self._answer = answer
        self._hub = hub
        self._revocations = revocations
        self._control = control
        self._missed = missed
        self._presence = presence
        self._installation = ""
        self._epoch: str | None = None
        self._is_other_data = False  # since revocations were read last
        self._hears = False
        self._number = 0.0  # of the last revocation that was heard on this connection
        self._sessions = 0  # how often revocations began to be heard, or ceased to
        self._behind = False
        self._task: asyncio.Task[None] | None = None
        self._sampled = Sampled(_log)

    def confirmed(self, of: Ordered) -> None:
        """Revocations are heard on the same connection as what concerns everyone."""
        if of == EVERYONE:
            self._sessions += 1
            self._number = 0.0
            self._hears = True
            self._catch_up()
            if self._presence is not None:
                self._presence.heard()
            self._memberships.resync()
        if isinstance(of, str):
            self._hub.confirmed(of)
        else:
            # Who may have what a shard has is known no sooner.
            self._memberships.when_complete(partial(self._confirmed_shard, of, self._sessions))

    def _confirmed_shard(self, shard: int, session: int) -> None:
        if session == self._sessions:
            self._hub.confirmed(shard)

    def ephemeral_to_group(self, group: bytes, before: frozenset[bytes], event: Event) -> None:
        if self._memberships.complete:
            self._hub.ephemeral_to_group(group, before, event)

    def lost(self) -> None:
        self._sessions += 1
        self._hears = self._behind = self._revocations.complete = False
        self._hub.lost()
        if self._presence is not None:
            self._presence.lost()

    def data_set(self, found: DataSet) -> None:
        if found.epoch != self._epoch:
            self._is_other_data = self._is_other_data or self._epoch is not None
            self._epoch = found.epoch
            if self._is_other_data and self._hears:
                self._revocations.complete = False
                self._catch_up()
                self._memberships.resync()
        self._hub.know(found.epoch, found.settled, found.retention)
        if self._presence is not None:
            self._presence.probed()

    def revoked(self, revocation: Control) -> None:
        """Act on it, and on nothing that is said in the name of another installation.

        Ours may have another name by now, if Redis had lost it, or have got its first one. Then
        what was said is there to be read, unless it could not be kept.
        """
        assert revocation.revoke is not None
        installation, ours = revocation.installation, self._installation
        if installation not in ("", ours) and (ours or revocation.number.is_integer()):
            self._catch_up()
            return
        self._revoke(revocation.revoke, revocation.number)
        self._number = max(self._number, revocation.number)
        if self._revocations.complete:
            self._revocations.number = self._number

    def membership(self, change: Membership) -> None:
        """Act on it first: who asks wants to know that it was done."""
        user_id, group = change.user_id, change.group
        self._memberships.heard(user_id, group, member=change.member)
        if change.name is not None:
            granted = self._memberships.grants(user_id, group)
            self._answer(change.name, GRANTED if granted else b"")

    def _revoke(self, user_id: str, number: float) -> None:
        """Take note first: who is closed comes back at once."""
        self._revocations.add(user_id, number)
        self._hub.revoked(user_id)

    async def caught_up(self, within: float) -> None:
        """Wait until revocations are known that were made before, but no longer than that."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=within)

    async def close(self) -> None:
        if self._task is not None:
            await tasks.cancelled([self._task])
        await self._memberships.close()

    def _catch_up(self) -> None:
        self._behind = True
        if self._task is None:
            self._task = asyncio.create_task(self._read(), name="aionotify revocations")

    async def _read(self) -> None:
        try:
            while self._behind:
                self._behind, session = False, self._sessions
                try:
                    found = await self._control.revoked()
                except BrokerError as error:
                    self._sampled.warning("revocations cannot be read", {"reason": str(error)})
                    self._behind = session == self._sessions or self._behind
                    await asyncio.sleep(_RETRY)
                    continue
                if session == self._sessions:
                    self._learn(found)
        finally:
            self._task = None

    def _learn(self, found: Revoked) -> None:
        reason = None
        if self._is_other_data or self._installation not in ("", found.installation):
            self._is_other_data = False
            self._revocations.forget(found.number)
            reason = "Redis has lost what it knew of them"
        for user_id, number in found.users:
            if reason is not None or not self._revocations.knows(number, user_id):
                self._revoke(user_id, number)
        if self._revocations.miss(found.missing):
            reason = "not heard for longer than Redis keeps them"
        if reason is not None and len(self._hub):
            _log.warning("revocations missed", extra={"fields": {"reason": reason}})
            self._missed()
        if found.installation != self._installation:
            self._installation, self._number = found.installation, 0.0
        self._number = max(self._number, found.number)
        self._revocations.number, self._revocations.complete = self._number, True
