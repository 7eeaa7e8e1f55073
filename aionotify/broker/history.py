"""Reading inboxes as lists: what a user has been told, in pages, the newest or the oldest first."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.data_set import DataSet
from aionotify.broker.inbox import parse_entry
from aionotify.broker.keys import Keys
from aionotify.errors import InvalidEvent
from aionotify.events.event import Event
from aionotify.events.event_id import mark_of
from aionotify.events.listing import ListPage, ListReader, Part, Query
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats

_PAGE_BYTES: Final = 1 << 20  # of the events of one page, but for the last
_READ_BYTES: Final = 1 << 18  # of each inbox at a time; Redis does nothing else meanwhile
_ROUNDS: Final = 5  # in which a page is read; what is of other types is read for nothing


class History:
    """All inboxes, as lists.

    Args:
        execute: carries out commands.
        data_set: whose inboxes they are, and for how long these keep events.
        max_bytes: the longest event.
    """

    def __init__(
        self, execute: Execute, keys: Keys, data_set: DataSet, *, max_bytes: int, stats: Stats
    ) -> None:
        self._keys = keys
        self._data_set = data_set
        self._max_bytes = max_bytes
        self._stats = stats
        self._script = Script(execute, "history.lua")
        self._log = Sampled(logging.getLogger(__name__))

    def adopt(self, other: "History") -> None:
        """Read what is as long as `other` does."""
        self._max_bytes = other._max_bytes

    async def page(self, recipient_ids: Sequence[str], query: Query) -> ListPage:
        """A page of the list of all events in these recipients' inboxes.

        Raises:
            BrokerUnavailable, BrokerRefused: an inbox cannot be read now.
        """
        reader = ListReader(recipient_ids, query, _PAGE_BYTES)
        for _ in range(_ROUNDS):
            replies = [self._ask(id, reader, query) for id in recipient_ids]
            parts = await asyncio.gather(*replies)
            found = {
                id: self._part(id, reply) for id, reply in zip(recipient_ids, parts, strict=True)
            }
            if not reader.add(found):
                break
        return reader.page()

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()

    def _ask(self, recipient_id: str, reader: ListReader, query: Query) -> asyncio.Future[Any]:
        mark, data_set = mark_of(recipient_id), self._data_set
        args = (
            "newest" if query.newest_first else "oldest",
            reader.after.get(mark, ""),
            reader.before.get(mark, ""),
            query.limit + 1,
            _READ_BYTES,
            data_set.retention,
            data_set.floor,
            data_set.since,
            data_set.settled,
        )
        return self._script.call((self._keys.inbox(recipient_id),), args)

    def _part(self, recipient_id: str, reply: Any) -> Part:
        newest, complete, *raw = reply
        entries = [self._entry(recipient_id, item) for item in raw]
        return Part(entries, int(newest), bool(complete))

    def _entry(self, recipient_id: str, raw: bytes) -> tuple[int, Event | None]:
        try:
            entry = parse_entry(raw, recipient_id, self._max_bytes)
        except InvalidEvent as error:
            self._stats.events_invalid += 1
            self._log.warning("skipped an invalid event", {"from": "inbox", "reason": str(error)})
            return int(raw.partition(b" ")[0]), None
        return entry.position, entry.shown(self._data_set.clock())
