"""Posts presence events to a webhook, in their order, each at least once.

The Redis stream of events is what is to be posted, and how much may wait: the oldest make room
there. One node at a time posts, the one that has the lease, and keeps in Redis how far it is. So
what was posted and not noted, by a node that died, is posted again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from aionotify import tasks
from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import LATE, Execute
from aionotify.broker.keys import Keys
from aionotify.broker.lease import Leaseholder
from aionotify.errors import BrokerError
from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats
from aionotify.webhook.sender import NotDelivered

_EVENTS: Final = 100  # posted together
_LOOK_INTERVAL: Final = 1.0  # seconds
_RETRY: Final = (1.0, 60.0)  # seconds, first and longest
_KEPT: Final = 604800  # seconds; as long as the stream

_log = logging.getLogger(__name__)

Post = Callable[[str, bytes], Awaitable[None]]
"""Posts a body under an id. Raises NotDelivered."""


class PresenceEvent(msgspec.Struct):
    """What is posted of an event.

    Attributes:
        id: the entry's in the stream; the same whenever the event is posted again.
        time: in unix seconds, by Redis' clock.
    """

    id: str
    event: str
    user_id: str
    time: float


class PresencePoster:
    """Posts, while `run` runs.

    Args:
        execute: carries out commands.
        may_post: says whether this node is in a state to do so.

    Attributes:
        health: whether the webhook takes what is posted.
    """

    def __init__(
        self,
        execute: Execute,
        keys: Keys,
        post: Post,
        *,
        may_post: Callable[[], bool],
        stats: Stats,
    ) -> None:
        self.health = HealthCheck(
            _log, wrong="webhook takes nothing", right="webhook takes what is posted again"
        )
        self._execute = execute
        self._keys = keys
        self._post = post
        self._may_post = may_post
        self._stats = stats
        self._lease = Leaseholder(execute, keys.presence_lease)
        self._term = 0  # of the lease, in which it was read how far this is
        self._posted = ""  # up to which entry
        self._delay = 0.0
        self._retry_at = 0.0
        self._sampled = Sampled(_log)

    async def run(self) -> None:
        """Post what there is, for as long as this is not cancelled."""
        while True:
            try:
                pause = 0.0 if await self._round() else _LOOK_INTERVAL
            except BrokerError:  # which the checks of Redis tell of
                self._lease.forget()
                pause = _LOOK_INTERVAL
            except Exception:  # noqa: BLE001 - the node lives, and so must this
                _log.exception("presence poster failed")
                pause = _LOOK_INTERVAL
            tasks.obey()
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Have another node post."""
        if self._term:
            with contextlib.suppress(BrokerError, TimeoutError):
                async with tasks.timeout(LATE):
                    await self._lease.give_back()
        await self._lease.close()

    async def _round(self) -> bool:
        """Post some; return whether there may be more to post at once."""
        if not self._may_post():
            self._lease.forget()
            return False
        if await self._lease.take() is None:
            self._succeeded()  # or not, but that is another node's to say
            return False
        if self._retry_at > asyncio.get_running_loop().time():
            return False
        if self._lease.term != self._term:
            [posted] = await replies(self._execute, ("GET", self._keys.presence_posted))
            self._term, self._posted = self._lease.term, (posted or b"").decode()
        events = await self._next()
        if not events:
            return False
        try:
            await self._deliver(events)
        except NotDelivered as error:
            self._failed(str(error))
            return False
        self._succeeded()
        self._stats.webhook_posts["delivered"] += 1
        if await self._lease.take() is None or self._lease.term != self._term:
            return False  # somebody else has gone on
        self._posted = events[-1].id
        note = "SET", self._keys.presence_posted, self._posted, "EX", _KEPT
        await replies(self._execute, note)
        return len(events) == _EVENTS

    async def _next(self) -> list[PresenceEvent]:
        start = self._posted or "-"
        stream = self._keys.presence_events
        [found] = await replies(self._execute, ("XRANGE", stream, start, "+", "COUNT", _EVENTS + 1))
        events = [_event(id, fields) for id, fields in found]
        if events and events[0].id == self._posted:
            return events[1:]
        if events and self._posted:
            fields = {"after": self._posted, "before": events[0].id}
            self._sampled.warning("presence events were not posted in time", fields)
        return events[:_EVENTS]

    async def _deliver(self, events: list[PresenceEvent]) -> None:
        """Post them, and keep the lease meanwhile."""
        id, body = f"{events[0].id}:{events[-1].id}", msgspec.json.encode({"events": events})
        posting = asyncio.ensure_future(self._post(id, body))
        try:
            while not posting.done():
                await asyncio.wait({posting}, timeout=_LOOK_INTERVAL)
                with contextlib.suppress(BrokerError):
                    await self._lease.take()
            await posting
        finally:
            await tasks.cancelled([posting])

    def _failed(self, reason: str) -> None:
        self._delay = min(max(self._delay * 2, _RETRY[0]), _RETRY[1])
        self._retry_at = asyncio.get_running_loop().time() + self._delay
        self._stats.webhook_posts["failed"] += 1
        self.health.found(reason)

    def _succeeded(self) -> None:
        self._delay = self._retry_at = 0.0
        self.health.found(None)


def _event(id: bytes, words: list[bytes]) -> PresenceEvent:
    fields = dict(zip(words[::2], words[1::2], strict=True))
    milliseconds = int(id.partition(b"-")[0])
    user_id = fields[b"user_id"].decode()
    return PresenceEvent(id.decode(), fields[b"event"].decode(), user_id, milliseconds / 1000)
