"""Reading inboxes: the bounded recent history of each recipient."""

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis

from aionotify.broker.names import Names
from aionotify.broker.scripts import Script
from aionotify.cursor import Entry, Page
from aionotify.errors import InvalidEvent
from aionotify.events import decode
from aionotify.sampling import Sampled
from aionotify.stats import Stats

_PAGE_EVENTS: Final = 100
_ENTRY: Final = re.compile(rb"([0-9]{1,16}) ([0-9]{1,16}) ")
_POSITION: Final = re.compile(rb"0*([0-9]{1,16}) ")
_LAST: Final = 9 * 10**15  # as in the scripts: the year 2255
_GROWTH: Final = 3  # an event is stored with escapes in it: six bytes for U+0085, which has two


def parse_entry(entry: bytes, recipient_id: str, max_bytes: int) -> Entry:
    """An inbox entry, or a live message: ``<position> <previous> <event>``.

    Raises:
        InvalidEvent: it is not, or its event is for somebody else: a producer of another make has
            stored something that breaks the contract.
    """
    match = _ENTRY.match(entry)
    position, previous = map(int, match.groups()) if match else (0, 0)
    if match is None or previous >= position or position > _LAST:
        raise InvalidEvent({"body": "is not <position> <previous> <event>"})
    decoded = decode(entry[match.end() :], _GROWTH * max_bytes)
    if decoded.recipients != (recipient_id,):
        raise InvalidEvent({"recipient_id": "is not the recipient whose inbox this is"})
    return Entry(position, previous, decoded)


class Inbox:
    """All inboxes, read through one client.

    Args:
        retention: seconds for which events are kept.
        max_bytes: the longest event.
        page_bytes: how much is read at a time, though never less than one event.
    """

    def __init__(
        self,
        client: Callable[[], Redis],
        names: Names,
        *,
        retention: float,
        max_bytes: int,
        page_bytes: int,
        stats: Stats,
    ) -> None:
        self._names = names
        self._retention = retention
        self._max_bytes = max_bytes
        self._page_bytes = page_bytes
        self._stats = stats
        self._script = Script(client, "read.lua")
        self._asked: dict[tuple[str, int | None], list[asyncio.Future[Page]]] = {}
        self._log = Sampled(logging.getLogger("aionotify.inbox"))

    def read(self, recipient_id: str, after: int | None) -> asyncio.Future[Page]:
        """The page after a position; None asks for no entries, only for the newest position.

        Questions travel together, and streams that ask the same (all of them, after a lost
        connection, about everyone's inbox) share one answer; but only until it has been asked,
        so that an answer is never older than the question.

        The future raises BrokerUnavailable or BrokerRefused when it cannot be read now.
        """
        # A future for each who asks: whoever stops waiting does so for himself alone.
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        waiting = self._asked.get((recipient_id, after))
        if waiting is None:
            waiting = self._asked[recipient_id, after] = []
            self._ask(recipient_id, after, waiting)
        waiting.append(page)
        return page

    async def close(self) -> None:
        await self._script.close()

    def _ask(
        self, recipient_id: str, after: int | None, waiting: list[asyncio.Future[Page]]
    ) -> None:
        def answered(reply: asyncio.Future[Any]) -> None:
            error = None if reply.cancelled() else reply.exception()
            page = None
            if not reply.cancelled() and error is None:
                page = self._page(reply.result(), recipient_id)
            for each in waiting:
                if each.done():
                    continue
                if page is not None:
                    each.set_result(page)
                elif error is not None:
                    each.set_exception(error)
                    each.exception()  # looked at, even when whoever asked has left
                else:
                    each.cancel()

        self._script.call(
            (self._names.inbox(recipient_id),),
            ("" if after is None else after, _PAGE_EVENTS, self._page_bytes, self._retention),
            sent=lambda: self._asked.pop((recipient_id, after)),
        ).add_done_callback(answered)

    def _page(self, reply: list[Any], recipient_id: str) -> Page:
        newest, complete, gap, *raw = reply
        upto = int(newest)
        entries = []
        for item in raw:
            try:
                entries.append(parse_entry(item, recipient_id, self._max_bytes))
            except InvalidEvent as error:
                self._stats.events_invalid += 1
                self._log.warning(
                    "skipped an invalid event", {"from": "inbox", "reason": str(error)}
                )
        if not complete:
            upto = max(map(_position, raw))
        return Page(entries, upto, int(newest), gap.decode() or None)


def _position(entry: bytes) -> int:
    """Where an entry stands; 0 for what is none, which counts as part of the one before it."""
    match = _POSITION.match(entry)
    position = int(match[1]) if match else 0
    return position if position <= _LAST else 0
