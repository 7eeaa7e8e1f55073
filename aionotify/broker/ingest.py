"""Ingest: events that anybody adds to the Redis stream `{prefix}:publish`, with one plain XADD.

One node at a time takes them: the one that has the lease. It reads the first entries, publishes
them as any durable events, and then deletes them. So what is in the stream is what is not published
yet, and its beginning is what a node left that died. A consumer group would be a second account of
that, to be created, claimed from and repaired.

No entry is stored twice or out of order, because Redis compares (append.lua), whatever a node
believes:

- what comes from a node after its lease has ended is refused;
- an entry's idempotency key is its `id`, or else its entry id. It is kept for a day. Once the entry
  is deleted, that of an entry without an `id` is kept only for as long as another node may still
  work on what it has read before: a day's keys of all events would take more than the events;
- if an entry was refused, so are those after it for the same recipient.

While there is nothing to take, XREAD waits in Redis, on a connection of its own: an entry is taken
at once, for three commands a second. Polling at that price would be up to a second late.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from aionotify import tasks
from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import LATE, Command, Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.broker.lease import Lease, Leaseholder
from aionotify.broker.published import PartlyPublished, Published, decode_checked
from aionotify.broker.publisher import Publisher
from aionotify.errors import BrokerError, InvalidEvent
from aionotify.events.event import Event
from aionotify.portions import portions
from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats

_ENTRIES: Final = 1000  # read at a time
_BYTES: Final = 1 << 20  # read at a time, but never less than one entry
# Of the entries that are published together: half a second of Redis at most.
_RECIPIENTS: Final = 2000
# Milliseconds in Redis; what takes longer than LATE arouses suspicion.
_WAIT: Final = int(LATE * 500)
_LOOK_INTERVAL: Final = 1.0  # seconds between two looks whether another node still has the lease
_RETRY: Final = (0.05, 1.0)  # seconds, first and longest
_READ_FOR: Final = 30.0  # seconds for which what was read is worked on, before it is read again
_KEY_KEPT: Final = 60  # seconds from the deletion of an entry; more than the last and a lease
_FIELDS: Final = {b"event", b"ephemeral"}
_REJECTED: Final = 1000  # entries
_REJECTED_KEPT: Final = 604800  # seconds; a week, from the last one

_log = logging.getLogger(__name__)


class Entry(msgspec.Struct):
    """An entry of the stream.

    Attributes:
        id: its id there.
        message: the event as it was added, empty if there is none or it is too long.
        event: what is to be published.
        reason: why it cannot be.
        names_itself: whether the event has an idempotency key of its own.
        ephemeral: whether it is not to be stored.
    """

    id: str
    message: bytes = b""
    event: Event | None = None
    reason: str = ""
    names_itself: bool = False
    ephemeral: bool = False


class Ingest:
    """Takes entries, from when `run` is called.

    Args:
        execute: carries out commands.
        waiting: carries out those that take their time, on a connection of its own.
        may_take: says whether this node is in a state to do so.

    Attributes:
        backlog: entries in the stream when this node read it last; 0 if another node does.
        lag: seconds since the first of these was added.
    """

    def __init__(
        self,
        execute: Execute,
        waiting: Execute,
        keys: Keys,
        publisher: Publisher,
        *,
        stats: Stats,
        may_take: Callable[[], bool],
    ) -> None:
        self.backlog = 0
        self.lag = 0.0
        self.health = HealthCheck(
            _log, wrong="published entries not taken", right="published entries taken again"
        )
        self._execute, self._waiting = execute, waiting
        self._keys = keys
        self._publisher = publisher
        self._stats = stats
        self._may_take = may_take
        self._lease = Leaseholder(execute, keys.publish_lease)
        self._has_lease = False
        self._script = Script(waiting, "take.lua")
        self._failures = 0  # in a row
        self._sampled = Sampled(_log)

    async def run(self) -> None:
        """Take what there is, for as long as this is not cancelled."""
        while True:
            try:
                pause = await self._round()
            except BrokerError as error:
                pause = self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - the node lives, and so must this
                _log.exception("ingest failed")
                pause = self._failed(f"{type(error).__name__}: {error}")
            tasks.obey()
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Have another node take over, if it is this one that takes entries."""
        if self._has_lease:
            with contextlib.suppress(BrokerError, TimeoutError):
                async with tasks.timeout(LATE):
                    await self._lease.give_back()
        await self._lease.close()
        await self._script.close()

    async def _round(self) -> float:
        """Take some entries, or wait for one; return for how many seconds to rest."""
        if not self._may_take():
            self._lease.forget()
            self._idle()
            return _RETRY[0]
        lease = await self._lease.take()
        self._found(has_lease=lease is not None)
        if lease is None:
            self._idle()
            self._succeeded()
            return _LOOK_INTERVAL
        if await self._take(1 if self._failures else _ENTRIES):
            self._succeeded()
            self._idle()
            await self._wait()
        return 0

    async def _take(self, count: int) -> bool:
        """Publish what there is, in portions; return whether that was all."""
        clock, term = asyncio.get_running_loop().time, self._lease.term
        read_at, entries = clock(), await self._read(count)
        while entries:
            # While Redis stores these, it costs nothing to read on.
            read_next_at, following = (
                clock(),
                asyncio.create_task(self._read(count, f"({entries[-1].id}")),
            )
            try:
                for some in portions(entries, _RECIPIENTS, _recipients, _RECIPIENTS):
                    lease = await self._lease.take()
                    is_new = self._lease.term == term and clock() - read_at < _READ_FOR
                    if lease is None or not is_new:
                        return False
                    if not await self._publish(some, lease):
                        return False
                self._succeeded()
                read_at, entries = read_next_at, await following
            finally:
                await tasks.cancelled([following])
        return True

    async def _wait(self) -> None:
        """Return when there is an entry, or soon."""
        stream = self._keys.publish
        await replies(
            self._waiting, ("XREAD", "COUNT", 1, "BLOCK", _WAIT, "STREAMS", stream, "0-0")
        )

    async def _read(self, count: int, start: str = "-") -> list[Entry]:
        longest = self._publisher.max_bytes
        reply = await self._script.call((self._keys.publish,), (count, _BYTES, longest, start))
        self.backlog, age, *entries = reply
        self.lag = age / 1000
        return [_entry(words, longest) for words in entries]

    async def _publish(self, entries: list[Entry], lease: Lease) -> bool:
        """Store entries, or say why they never will be, and delete them; return if none is left.

        Raises BrokerError if none of those that are left should be tried again at once.
        """
        valid = [each for each in entries if each.event is not None and not each.ephemeral]
        events = [entry.event for entry in valid if entry.event is not None]
        results = await self._publisher.publish_in_order(events, lease)
        done, failed = [], []
        for entry, result in zip(valid, results, strict=True):
            if isinstance(result, Published):
                self._stats.ingested["repeated" if result.repeated else "stored"] += 1
                done.append(entry)
            elif reason := _reason(result):
                entry.reason = reason
            else:
                failed.append(result)
        rejected = [entry for entry in entries if entry.reason]
        if rejected:
            await replies(self._execute, *self._rejections(rejected))
            self._stats.ingested["rejected"] += len(rejected)
        await self._delete(done, rejected)
        await self._send([each for each in entries if each.ephemeral and not each.reason])
        if failed and not rejected:  # or else they may have been refused for those before them
            raise failed[0]
        return not failed

    async def _send(self, entries: list[Entry]) -> None:
        """Publish ephemeral events, each at most once: whoever deletes an entry publishes it."""
        if not entries:
            return
        stream = self._keys.publish
        deleted = await replies(self._execute, *(("XDEL", stream, each.id) for each in entries))
        ours = [entry.event for entry, count in zip(entries, deleted, strict=True) if count]
        events = [event for event in ours if event is not None]
        results = await self._publisher.publish_checked(events, ephemeral=True)
        sent = [result for result in results if isinstance(result, Published)]
        self._stats.ingested["ephemeral"] += len(sent)

    def _rejections(self, entries: Iterable[Entry]) -> Iterator[Command]:
        add = "XADD", self._keys.rejected, "MAXLEN", _REJECTED, "*"
        for entry in entries:
            self._sampled.warning(
                "rejected a published entry", {"entry": entry.id, "reason": entry.reason}
            )
            yield (*add, "entry", entry.id, "reason", entry.reason, "event", entry.message)
        yield "EXPIRE", self._keys.rejected, _REJECTED_KEPT

    async def _delete(self, done: Sequence[Entry], rejected: Sequence[Entry]) -> None:
        ids = [entry.id for entry in (*done, *rejected)]
        if ids:
            await replies(self._execute, ("XDEL", self._keys.publish, *ids))
        if keys := list(self._own_keys(done)):  # only now: they are what tells until then
            await replies(self._execute, *(("EXPIRE", key, _KEY_KEPT) for key in keys))

    def _own_keys(self, entries: Iterable[Entry]) -> Iterator[str]:
        """The idempotency keys that are entry ids."""
        for entry in entries:
            if entry.event is not None and not entry.names_itself:
                for receiver in entry.event.receivers:
                    yield self._keys.idempotency(receiver, entry.id)

    def _found(self, *, has_lease: bool) -> None:
        if has_lease != self._has_lease:
            self._has_lease = has_lease
            if has_lease:
                _log.info("takes published entries")
            else:
                _log.info("another node takes published entries")

    def _idle(self) -> None:
        self.backlog, self.lag = 0, 0.0

    def _succeeded(self) -> None:
        self._failures = 0
        self.health.found(None)

    def _failed(self, reason: str) -> float:
        """Take note of a failure; return for how many seconds to rest."""
        self._failures += 1
        self._lease.forget()
        if self._failures > 1:  # a connection may be lost at any time
            self.health.found(reason)
        first, longest = _RETRY
        return min(first * float(2 ** min(self._failures, 10)), longest)


def _entry(words: Sequence[Any], max_bytes: int) -> Entry:
    """An entry as take.lua returns it."""
    entry = Entry(words[0].decode())
    try:
        entry.message, entry.ephemeral = _fields(words[1:], max_bytes)
        event = decode_checked(entry.message, max_bytes, ephemeral=entry.ephemeral)
    except InvalidEvent as error:
        entry.reason = str(error)
    else:
        entry.names_itself = event.key is not None
        if event.key is None:
            event = msgspec.structs.replace(event, key=entry.id)
        entry.event = event
    return entry


def _fields(words: Sequence[Any], max_bytes: int) -> tuple[bytes, bool]:
    """Return the event of an entry, and whether it is ephemeral; raise InvalidEvent."""
    if len(words) == 2 and words[0] == b"event":  # nearly every one
        message, ephemeral = words[1], b"false"
    else:
        fields = dict(zip(words[::2], words[1::2], strict=True))
        if 2 * len(fields) != len(words) or not {b"event"} <= fields.keys() <= _FIELDS:
            raise InvalidEvent({"entry": "must have the field event, and no other but ephemeral"})
        message, ephemeral = fields[b"event"], fields.get(b"ephemeral", b"false")
    if isinstance(message, int):
        raise InvalidEvent({"body": f"is {message} bytes long, at most {max_bytes} allowed"})
    if ephemeral not in (b"true", b"false"):
        raise InvalidEvent({"ephemeral": 'must be "true" or "false"'})
    return bytes(message), ephemeral == b"true"


def _recipients(entry: Entry) -> int:
    return 1 if entry.event is None else len(entry.event.receivers)


def _reason(error: BrokerError) -> str | None:
    """Say why an event will never be stored; None if it is worth to try again.

    That is so if all that refuses it is what somebody has put into an inbox. To wait until it is
    taken away would keep all others waiting.
    """
    errors = [error]
    if isinstance(error, PartlyPublished):
        results = [*error.recipients.values(), *error.groups.values()]
        errors = [each for each in results if isinstance(each, BrokerError)]
    texts = [str(each) for each in errors]
    if all("WRONGTYPE" in text or "leaves no position" in text for text in texts):
        return f"recipient_id: {texts[0]}"
    return None
