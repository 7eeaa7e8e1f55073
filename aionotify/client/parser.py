"""A parser of event streams: bytes in, events out (HTML Standard section 9.2.6).

The reverse of `aionotify.events.frame`, for our own client. It does no I/O and does not trust the
server: it keeps a limited part of an incomplete event.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from aionotify.errors import AionotifyError

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_DIGITS: Final = re.compile(r"[0-9]{1,9}", re.ASCII)  # more than eleven days is a mistake


class EventTooLong(AionotifyError):
    """An event of the stream is longer than the client allows."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        super().__init__(f"an event is longer than {max_bytes} bytes")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.

    Attributes:
        type: ``message`` if the server sent none.
        data: its lines, joined by LF.
        id: the last event id: this event's or, if it has none, that of an earlier event.
    """

    type: str
    data: str
    id: str

    def json(self) -> Any:
        """Return `data`, parsed: all that aionotify sends is JSON.

        Raises ValueError: it is not.
        """
        return json.loads(self.data)


class Parser:
    """Parses the bytes of one connection, in chunks of any size.

    Args:
        last_event_id: the one of the previous connection.
        max_bytes: the longest event.

    Attributes:
        last_event_id: to send with the next connection's request.
        retry: milliseconds to wait before that, or None if the server has not sent any.
    """

    def __init__(self, last_event_id: str, max_bytes: int) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._size = 0
        self._first = True
        self._after_cr = False
        self._type = ""
        self._data: list[str] = []
        self._id = last_event_id

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Return the events that `chunk` completes.

        Raises:
            EventTooLong: an event is longer than `max_bytes`.
        """
        if not chunk:
            return []
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF
        self._after_cr = chunk.endswith(b"\r")
        events = []
        *ends, rest = _LINE_END.split(chunk)
        for end in ends:
            self._grow(end)
            line = bytes(self._line)
            self._line.clear()
            if self._first:
                line = line.removeprefix(codecs.BOM_UTF8)
                self._first = False
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        self._grow(rest)
        return events

    def _grow(self, part: bytes) -> None:
        self._line += part
        if self._size + len(self._line) > self._max_bytes:
            raise EventTooLong(self._max_bytes)

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._size += len(line) + 1
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if _DIGITS.fullmatch(value):
                self.retry = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        self.last_event_id = self._id
        type, data = self._type or "message", self._data
        self._type, self._data, self._size = "", [], 0
        return ServerSentEvent(type, "\n".join(data), self._id) if data else None
