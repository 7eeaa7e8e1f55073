"""Which data set Redis has, and what time it is there.

Redis' clock may be set back, and after a failover it is another machine's. Redis may come back
without its data, or with older data. So the key `{prefix}:epoch` keeps by what name a data set is
known, and the latest time that anybody has seen in it; and all who use it ask each second.

`floor` is the latest time that is known here: no position is given out before it. `since` is the
time after which nothing can have expired: not even what was stored with a shorter retention, by
somebody else or before a reload. `settled` is the time up to which everything is stored, for by
then all who publish know a later `floor`; all in microseconds.
"""

import itertools
import logging
import math
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.exceptions import NoPermissionError, ReadOnlyError

from aionotify.broker.agreement import differences, inbox_setting, joined, strangers
from aionotify.broker.connection.endpoint import translate
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.broker.node_lease import LENGTH, NodeLease
from aionotify.config import InboxConfig
from aionotify.errors import BrokerRefused
from aionotify.events.cursor import EPOCH_CHARS, EPOCH_LETTERS
from aionotify.events.position import Settling
from aionotify.telemetry.health_check import HealthCheck

MAX_AGE: Final = 1.5  # seconds for which what is known will do to publish by
_AGREED: Final = 30  # times in a row; who publishes now and then says so now and then
_AHEAD: Final = (1.0, 2.0)  # seconds; positions of which a new master may not know were within less


@dataclass(frozen=True, slots=True)
class Probed:
    """What Redis answered.

    Attributes:
        clock: the time there, in microseconds.
        refused: why nothing could be stored, or None.
        read_only: whether that is because it is a replica.
        run_id: which server it was, '' where one may not ask.
    """

    clock: int
    refused: str | None
    read_only: bool
    run_id: str


class DataSet:
    """What is known of the data set, for all who read and publish by it.

    Args:
        execute: carries out commands.
        also: others that do; all of them are asked in turn.
        lease: of the node that asks, if others are to know that it lives.
        retention, max_events, idempotency: of inboxes.
        whose: the settings of a ``node``, which is how others know of them; somebody's ``own``; or
            a ``default``, until it is known what those of the nodes are.
        agreed: what else must be the same everywhere, see `node_settings`.

    Attributes:
        epoch: its name, or None while that is not known.
        floor, since: see above; 0 while not known.
        retention: seconds that events are kept.
        settings: whether all who use the same names have the settings that must be the same.
        connections: how many there are to ask on.
        append_words: what is the same for each event that is stored now: what append.lua has as
            arguments after the event. Ready to be sent, for there may be 100,000 events a second.
    """

    def __init__(
        self,
        execute: Execute,
        keys: Keys,
        *,
        retention: float,
        max_events: int,
        idempotency: float = InboxConfig().idempotency,
        whose: Literal["node", "own", "default"] = "own",
        agreed: Sequence[str] = (),
        also: Sequence[Execute] = (),
        lease: NodeLease | None = None,
    ) -> None:
        self.epoch: str | None = None
        self.floor = self.since = 0
        self.settings = HealthCheck(
            logging.getLogger(__name__),
            wrong="settings differ",
            right="settings agree again",
        )
        self._keys = keys
        self._scripts = [Script(each, "probe.lua") for each in (execute, *also)]
        self._turn = itertools.cycle(self._scripts)
        self.connections = len(self._scripts)
        self._probed_at = -math.inf
        self._run_id = ""
        self._clock_runs, self._clock_seen_at = False, -math.inf
        self._settling = Settling()
        self._agreed = 0  # times in a row
        self.retention, self._max_events, self._idempotency = retention, max_events, idempotency
        self._whose, self._agreed_on = whose, agreed
        self._lease = lease or NodeLease()
        self._make_append_words()

    def _make_append_words(self) -> None:
        limits = self._max_events, self.retention, self._idempotency
        words = (*limits, "PUBLISH", self.floor, self.since)
        self.append_words = tuple(str(word).encode() for word in words)

    def adopt(self, other: "DataSet", agreed: Sequence[str] = ()) -> None:
        """Keep as many events for as long as `other` does, and agree on what is in force now."""
        self._max_events, self.retention = other._max_events, other.retention
        self._idempotency, self._agreed_on = other._idempotency, agreed
        self._make_append_words()

    async def probe(self, channel: str = "", message: bytes = b"") -> Probed:
        """Ask, and have `message` published before.

        Raises BrokerUnavailable, and BrokerRefused when Redis will not even say what time it is.
        """
        # Another name each time, or a data set that was wiped would be called as before.
        candidate = "".join(secrets.choice(EPOCH_LETTERS) for _ in range(EPOCH_CHARS))
        # Who may not ask which server it is, and did once, does not fill Redis' log with it.
        which = 1 if self._run_id or not message else ""
        listened = self._keys.ephemeral if message else ""
        inbox = (self.retention, self._max_events)
        node = self._lease.name
        args = (self.floor, *inbox, candidate, which, listened, self._idempotency, self._whose)
        sent_at, before = time.monotonic(), self.floor
        reply = await next(self._turn).call(
            (self._keys.epoch,), (channel, message, *args, node, LENGTH, *self._agreed_on)
        )
        _told, written, epoch, clock, since, run_id, others, more, kept, held, lapsed = reply
        self._learn(_text(epoch), int(clock), int(since), sent_at)
        self._recognise(_text(run_id), before)
        if self._whose == "default":
            retention, self._max_events, self._idempotency = map(int, _text(kept).split())
            self.retention = retention
        self._make_append_words()
        self._compare(list(map(_text, others)), int(more))
        names = list(map(_text, lapsed))
        self._lease.renewed(node, names, held=bool(held), written=written == 1)
        read_only = isinstance(written, ReadOnlyError)
        return Probed(int(clock), _refusal(written), read_only, _text(run_id))

    async def refresh(self) -> Probed | None:
        """Ask, unless what is known is recent: before anything is published.

        Raises BrokerUnavailable.
        """
        if time.monotonic() - self._probed_at < MAX_AGE:
            return None
        try:
            return await self.probe()
        except BrokerRefused:  # no right to the key
            self._probed_at = time.monotonic()
            return None

    @property
    def settled(self) -> int:
        """Up to where everything is stored; 0 while that is not known."""
        return self._settling.position

    def settle(self, clock: int) -> None:
        """Take note that all that was published before `clock` was heard."""
        self._settling.see(time.monotonic(), clock, self.retention)

    def clock(self) -> int:
        """What time it is in Redis, in microseconds; 0 while that is not known.

        It goes on from what Redis said last by the time that has passed here since, unless what it
        said was no later than what was known before: then its clock was set back, and stands still
        for all who go by positions.
        """
        if not self._clock_runs:
            return self.floor
        return self.floor + int((time.monotonic() - self._clock_seen_at) * 1_000_000)

    async def close(self) -> None:
        """Wait for what is under way."""
        for script in self._scripts:
            await script.close()

    def _learn(self, epoch: str, clock: int, since: int, sent_at: float) -> None:
        if epoch and epoch != self.epoch:
            self.epoch, self.since = epoch, 0
        self._clock_runs, self._clock_seen_at = clock > self.floor, time.monotonic()
        self.floor = max(self.floor, clock)
        self.since = max(self.since, since)
        self._probed_at = max(self._probed_at, sent_at)
        if not self.settled:
            self.settle(clock)

    def _recognise(self, run_id: str, before: int) -> None:
        """Another server may not know the last of what was stored: there, positions that were
        given out since the clock was seen last are not given out again.

        That was `before`. What the other one says may be ahead of that, by somebody else's leap.
        """
        if run_id and self._run_id and run_id != self._run_id:
            self._settling.forget()
            ahead = int(random.uniform(*_AHEAD) * 1_000_000)
            self.floor = max(self.floor, before + ahead)
            self._clock_runs = False
        self._run_id = run_id or self._run_id

    def _compare(self, others: list[str], more: int) -> None:
        ours = (inbox_setting(self.retention, self._max_events), *self._agreed_on)
        problem = joined(differences(ours, others) + strangers(more, self._keys.ephemeral))
        self._agreed = 0 if problem else self._agreed + 1
        if problem:
            self.settings.found(problem)
        elif self._agreed >= _AGREED:
            self.settings.found(None)


def _text(reply: bytes | str) -> str:
    """A client that somebody gave to a publisher may decode replies by itself."""
    return reply if isinstance(reply, str) else reply.decode()


def _refusal(written: Any) -> str | None:
    """Why nothing was stored; whose user may not write at all leaves that to others."""
    if not isinstance(written, Exception) or isinstance(written, NoPermissionError):
        return None
    return None if "ACL failure" in str(written) else str(translate(written))
