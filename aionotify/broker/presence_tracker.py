"""Who comes and who goes, on all nodes together: kept in Redis, and told in a stream there.

Each node says which users it has. A user comes with the first stream on any node, and goes when
there has been none on any for a while, the grace. Nobody's connection is a promise to say so at
its end, so a node that dies is found by its lease (`node_lease`), and whoever finds it takes its
users away; Redis sees to it that each is taken away once (presence_tracker.lua).

A node that may not have been heard, or of which Redis may have lost something, does not look for
the difference. It says all anew under another name, and takes itself away under the old one: by
then its users are at the new one, and nobody goes or comes.

While nobody comes or goes this costs nothing but the lease, and the probe brings that along.
"""

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from aionotify import tasks
from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import LATE, Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.broker.node_lease import LENGTH, NodeLease
from aionotify.errors import BrokerError, BrokerRefused
from aionotify.portions import portions
from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.stats import Stats

_BATCH_WINDOW: Final = 0.1  # seconds: who comes and goes meanwhile is told together
_USERS: Final = 500  # told, removed or settled in one call; some milliseconds of Redis
_RETRY: Final = 1.0  # seconds
_KEPT: Final = 604800  # seconds; a week after the last node, nothing is left
_ANEW: Final = 86400.0  # seconds after which all is said anew, so that it is kept

_log = logging.getLogger(__name__)


class _Reply(NamedTuple):
    """What the script says that its caller has to know: see there."""

    may: bool
    more: bool


class PresenceTracker:
    """Tells Redis who is at this node, and whom others have left behind, while `run` runs.

    Args:
        execute: carries out commands.
        data_set: probes by which `lease` is renewed.
        grace: seconds without a stream after which a user has gone.
        max_events: entries of the stream; the oldest make room.

    Attributes:
        health: whether Redis takes what there is to tell.
    """

    def __init__(
        self,
        execute: Execute,
        keys: Keys,
        data_set: DataSet,
        lease: NodeLease,
        *,
        grace: float,
        max_events: int,
        stats: Stats,
    ) -> None:
        self.health = HealthCheck(_log, wrong="presence not told", right="presence told again")
        self._execute = execute
        self._keys = keys
        self._data_set = data_set
        self._lease = lease
        self._grace = grace
        self._limits = (round(grace * 1000), max_events, _USERS, _KEPT)
        self._stats = stats
        self._script = Script(execute, "presence_tracker.lua")
        self._users: set[str] = set()
        self._changes: dict[str, bool] = {}  # who is to be told of, and whether he is here
        self._wake = asyncio.Event()
        self._hears_since: float | None = None
        self._outdated = True  # what Redis knows of this node
        self._old: list[str] = []  # names that this node had
        self._settle_at: float | None = None
        self._not_before = self._anew_at = 0.0
        self._leaves = False

    # --- what this node is told -----------------------------------------------------------------

    def want(self, recipient_id: str) -> None:
        """A user's first stream at this node is about to open."""
        self._users.add(recipient_id)
        self._change(recipient_id, is_here=True)

    def drop(self, recipient_id: str) -> None:
        """A user's last stream at this node has ended."""
        self._users.discard(recipient_id)
        if not self._leaves:  # or he is on his way to another one
            self._change(recipient_id, is_here=False)

    def _change(self, user_id: str, *, is_here: bool) -> None:
        if not self._outdated:
            self._changes[user_id] = is_here
            self._wake.set()

    def leave(self) -> None:
        """This node drains: those whose streams end from now on are gone when it is."""
        self._leaves = True

    def heard(self) -> None:
        """This node hears Redis, from now on."""
        self._hears_since = asyncio.get_running_loop().time()
        self._outdated = True
        self._wake.set()

    def lost(self) -> None:
        """It does so no more; and it may be another Redis that it hears next."""
        self._hears_since = self._settle_at = None

    def probed(self) -> None:
        """The lease was renewed, or should have been."""
        if self._lease.lost or (self._lease.lapsed and self._may_remove()):
            self._wake.set()

    def _may_remove(self) -> bool:
        """Whether others have had the time to renew their leases: not when all have come back
        from a failover, each as soon as it could.
        """
        since = self._hears_since
        return since is not None and asyncio.get_running_loop().time() - since > LENGTH

    # --- what it tells --------------------------------------------------------------------------

    async def run(self) -> None:
        """Tell what there is, for as long as this is not cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with tasks.timeout(self._until_next()):
                    await self._wake.wait()
            tasks.obey()
            self._wake.clear()
            try:
                if self._hears_since is not None:
                    await self._round()
                    self.health.found(None)
                await asyncio.sleep(_BATCH_WINDOW)
            except BrokerError as error:
                await self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - the node lives, and so must this
                _log.exception("presence tracker failed")
                await self._failed(f"{type(error).__name__}: {error}")
            tasks.obey()

    async def close(self) -> None:
        """Take this node away. Its lease is left to lapse: so others learn who is leaving."""
        with contextlib.suppress(BrokerError, TimeoutError):
            async with tasks.timeout(LATE):
                if not self._outdated and self._hears_since is not None:
                    await self._take_away(self._lease.name)
        await self._script.close()

    async def _failed(self, reason: str) -> None:
        # It may have been carried out or not.
        self._outdated = True
        self.health.found(reason)
        await asyncio.sleep(_RETRY)
        self._wake.set()

    def _until_next(self) -> float | None:
        if self._hears_since is None:
            return None
        now = asyncio.get_running_loop().time()
        return max(0.0, min(self._settle_at or math.inf, self._anew_at) - now)

    async def _round(self) -> None:
        now = asyncio.get_running_loop().time
        if self._outdated or self._lease.lost or now() >= self._anew_at:
            await self._begin()
        changes, self._changes = self._changes, {}
        for some in portions(changes.items(), _USERS):
            await self._tell([("+" if is_here else "-") + user for user, is_here in some])
        while self._old:
            await self._remove(self._old[0])
            del self._old[0]
        if self._may_remove():
            for name in self._lease.lapsed:
                await self._remove(name)
            self._lease.lapsed = ()
        if self._settle_at is not None and now() >= self._settle_at:
            while (await self._call("settle", self._lease.name)).more:
                pass

    async def _begin(self) -> None:
        """Tell of all who are here, under a name that nobody knows yet.

        The lease comes first: should this node die meanwhile, others notice.
        """
        self._outdated = False  # what happens from here on comes after what is told here
        if self._lease.name:
            self._old.append(self._lease.name)
        self._lease.take(secrets.token_hex(8))
        found = await self._data_set.probe()
        if found.refused is not None:
            raise BrokerRefused(found.refused)
        # Who was left behind by all nodes could come back to none of them until now.
        now = asyncio.get_running_loop().time()
        self._not_before, self._anew_at = now + self._grace, now + _ANEW
        users, self._changes = list(self._users), {}
        await self._call("begin", self._lease.name)
        for some in portions(users, _USERS):
            await self._tell([f"+{user}" for user in some])

    async def _tell(self, users: Sequence[str]) -> None:
        if not (await self._call("tell", self._lease.name, *users)).may:
            raise BrokerRefused("this node was taken to be dead")

    async def _remove(self, name: str) -> None:
        await self._take_away(name)
        # Last, or nobody would go on with it if this node died meanwhile.
        await replies(self._execute, ("HDEL", self._keys.epoch, f"node:{name}"))

    async def _take_away(self, name: str) -> None:
        while (await self._call("remove", name)).more:
            pass

    async def _call(self, what: str, name: str, *users: str) -> _Reply:
        keys = self._keys.presence(name)
        reply = await self._script.call(keys, (what, name, *self._limits, *users))
        may, came, went, more, left = map(int, reply)
        self._stats.presence_events["came"] += came
        self._stats.presence_events["went"] += went
        now = asyncio.get_running_loop().time()
        self._settle_at = None if left < 0 else max(now + left / 1000, self._not_before)
        return _Reply(may=bool(may), more=bool(more))
