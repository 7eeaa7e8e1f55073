"""A client for services and the command line: the events of one user, over many connections.

It reconnects like a browser's EventSource (HTML Standard section 9.2.3). Unlike EventSource, it
tells a refusal from an outage, and retries only after an outage.
"""

import asyncio
import itertools
import logging
import random
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Literal, Self

import aiohttp
import msgspec
from aiohttp import hdrs
from yarl import URL

from aionotify.client.history import HistoryPage, Unread
from aionotify.client.parser import EventTooLong, Parser, ServerSentEvent
from aionotify.errors import AionotifyError

__all__ = ("Client", "EventTooLong", "ServerSentEvent", "StreamRefused")

_log = logging.getLogger(__name__)

_RETRY: Final = 3.0  # seconds, until the server sends `retry:`; EventSource has "a few seconds"
_SHORTEST_WAIT: Final = 0.1  # seconds, because `retry: 0` would make a busy loop
_LONGEST_BACKOFF: Final = 60.0  # seconds
_LONGEST_WAIT: Final = 3600.0  # seconds, even if the server asks for more
_CONNECT: Final = 10.0  # seconds
_SILENCE: Final = 100.0  # seconds; the longest heartbeat interval is 90
_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})  # and all 5xx
_ERROR_BYTES: Final = 4096  # of a refusal, to read its reason from


class StreamRefused(AionotifyError):
    """The server refuses the stream, and would refuse it again.

    Attributes:
        status: of the answer; 401 or 403 if the token is refused.
        code: ``error.code`` in the answer, or an empty text.
    """

    def __init__(self, status: int, reason: str, code: str = "") -> None:
        self.status = status
        self.code = code
        super().__init__(f"the server answered {status}: {reason}")


class Client:
    """The events of one user, over as many connections as necessary.

    Use it as ``async with Client(url, token=…) as client`` and then ``async for event in client``.
    The loop ends only with an error or with the block. It yields every event of the stream,
    including the control events ``aionotify.…``.

    It reconnects when the connection is lost or cannot be made, the stream ends, nothing has come
    for 100 s, or the server answers 408, 425, 429 or 5xx: after the wait that the server asks for,
    twice as long with each failure in a row, up to a minute, with jitter. It sends `last_event_id`,
    so durable events are neither lost nor doubled.

    Args:
        url: address of the stream, ``https://…/notify``. Redirects are not followed: they could
            send the token elsewhere.
        token: sent as bearer token.
        last_event_id: resume after this event; by default, begin with new events.
        max_bytes: the longest event.

    Raises:
        ValueError: `url` is not such an address, or `token` cannot be sent.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        last_event_id: str = "",
        max_bytes: int = 1 << 20,
    ) -> None:
        self._last_event_id = last_event_id
        self._url = URL(url)
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ValueError("the url of a stream begins with http:// or https:// and a host")
        if self._url.user is not None or self._url.password is not None:
            raise ValueError("the url of a stream has no user name or password; use a token")
        try:
            self._url.host.encode("idna")
        except UnicodeError:
            raise ValueError("the url of a stream has a host that cannot be one") from None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ValueError("the token has characters that no header can have")
        self._token = token
        self._max_bytes = max_bytes
        self._events: deque[ServerSentEvent] = deque()
        self._parser = Parser(last_event_id, max_bytes)
        self._session: aiohttp.ClientSession | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._retry = _RETRY
        self._failures = 0
        self._wait = 0.0

    @property
    def last_event_id(self) -> str:
        """Of the last event that was returned; store it to resume later.

        Set it, to the `cursor` of a `history` say, to go on from there with the next connection.
        """
        return self._last_event_id

    @last_event_id.setter
    def last_event_id(self, id: str) -> None:
        self._last_event_id = id
        self._events.clear()
        self._disconnect()
        self._parser = Parser(id, self._max_bytes)

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(None, sock_connect=_CONNECT, sock_read=_SILENCE)
        # A compressed answer would arrive in blocks, too late.
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        self._session = aiohttp.ClientSession(timeout=timeout, headers=headers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. Does nothing twice."""
        self._disconnect()
        if self._session is not None:
            await self._session.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        """Wait for the next event and return it.

        Raises:
            StreamRefused: the server refuses the stream.
            EventTooLong: see `max_bytes`.
        """
        while not self._events:
            try:
                await self._receive()
            except _Lost as lost:
                self._disconnect()
                self._plan(lost)
        event = self._events.popleft()
        self._last_event_id = event.id
        return event

    async def history(
        self,
        *,
        order: Literal["newest", "oldest"] = "newest",
        limit: int = 50,
        before: str | None = None,
        after: str | None = None,
        events: Sequence[str] = (),
    ) -> HistoryPage:
        """Return a page of what the user was told.

        It is asked for again, as the stream is, until there is an answer.

        Args:
            order: which events come first.
            limit: the most events, 1 to 100.
            before, after: an event id, or a cursor; before a cursor are the events that a client at
                it has had.
            events: only those of these types.

        Raises:
            StreamRefused: the server refuses the request, and would again.
        """
        given = {"order": order, "limit": str(limit), "before": before, "after": after}
        query = [(name, value) for name, value in given.items() if value is not None]
        query += [("event", each) for each in events]
        return msgspec.json.decode(await self._ask("GET", "inbox", query), type=HistoryPage)

    async def mark_read(self, *, upto: str | None = None, ids: Sequence[str] = ()) -> int:
        """Mark events as read on all of the user's devices; return how many are not.

        Args:
            upto: all up to an event id or a cursor.
            ids: up to 100 event ids.

        Raises:
            StreamRefused: the server refuses the request, and would again.
        """
        marks: dict[str, object] = {"ids": list(ids)}
        if upto is not None:
            marks["upto"] = upto
        body = msgspec.json.encode(marks)
        return msgspec.json.decode(
            await self._ask("PUT", "inbox/read", (), body), type=Unread
        ).unread

    async def _ask(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: bytes | None = None,
    ) -> bytes:
        session, url = self._entered(), self._url.join(URL(path)).with_query(query)
        for failures in itertools.count():
            try:
                async with session.request(
                    method,
                    url,
                    data=body,
                    headers={"Accept": "application/json"},
                    allow_redirects=False,
                ) as response:
                    if response.status == 200 and response.content_type == "application/json":
                        return await response.read()
                    raise await _failure(response)
            except (aiohttp.ClientError, OSError) as error:
                lost = _Lost(_reason(error))
            except _Lost as error:
                lost = error
            await asyncio.sleep(self._wait_after(lost, failures))
        raise AssertionError

    async def _receive(self) -> None:
        """Read the next chunk, on a new connection if necessary."""
        try:
            if self._response is None:
                self._response = await self._connect()
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _Lost(_reason(error)) from None
        if not chunk:
            raise _Lost("closed by the server")
        self._events.extend(self._parser.feed(chunk))
        if self._events:
            self._failures = 0

    async def _connect(self) -> aiohttp.ClientResponse:
        session = self._entered()
        # If cancelled, the wait begins again with the next call.
        await asyncio.sleep(self._wait)
        self._parser = Parser(self._parser.last_event_id, self._max_bytes)
        headers = {}
        # An id with control characters cannot be sent in a header.
        if (id := self._parser.last_event_id) and id.isprintable():
            headers["Last-Event-ID"] = id
        response = await session.get(self._url, headers=headers, allow_redirects=False)
        if response.status == 200 and response.content_type == "text/event-stream":
            return response
        try:
            raise await _failure(response)
        finally:
            response.close()

    def _entered(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not entered: use it as `async with Client(...)`")
        return self._session

    def _disconnect(self) -> None:
        if self._parser.retry is not None:
            self._retry = max(self._parser.retry / 1000, _SHORTEST_WAIT)
        if self._response is not None:
            self._response.close()
            self._response = None

    def _plan(self, lost: "_Lost") -> None:
        self._wait = self._wait_after(lost, self._failures)
        self._failures += 1
        fields = {"reason": lost.reason, "wait": round(self._wait, 1)}
        _log.warning("stream disconnected", extra={"fields": fields})

    def _wait_after(self, lost: "_Lost", failures: int) -> float:
        """Choose the wait: as the server wants, longer with each failure, with jitter."""
        backoff = self._retry * float(2 ** min(failures, 16))
        least = max(self._retry, lost.retry_after, min(backoff, _LONGEST_BACKOFF))
        return min(least * random.uniform(1, 1.5), _LONGEST_WAIT)


class _Lost(Exception):
    """The connection is lost, or could not be made; `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: float = 0) -> None:
        self.reason = reason
        self.retry_after = retry_after


class _Reason(msgspec.Struct):
    code: str
    message: str


class _Answer(msgspec.Struct):
    error: _Reason


async def _failure(response: aiohttp.ClientResponse) -> "StreamRefused | _Lost":
    """Return the error for a `response` that is not an event stream."""
    status = response.status
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return _Lost(f"answered {status}", _retry_after(response.headers.get(hdrs.RETRY_AFTER, "")))
    if status < 300:
        return StreamRefused(status, f"{response.content_type} instead of text/event-stream")
    if status < 400:
        return StreamRefused(status, "it redirects, and redirects are not followed")
    try:
        body = await response.content.read(_ERROR_BYTES)
        error = msgspec.json.decode(body, type=_Answer).error
    except (msgspec.DecodeError, RecursionError):
        return StreamRefused(status, response.reason or "no reason given")
    # A terminal would execute escape sequences in it.
    return StreamRefused(status, error.message if error.message.isprintable() else "", error.code)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no data for too long"
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        # aiohttp's own text quotes the whole URL.
        return "the answer is not valid HTTP, or is incomplete"
    return str(error) or type(error).__name__


def _retry_after(text: str) -> float:
    """Return the seconds of a Retry-After (RFC 9110 section 10.2.3); 0 if it is not valid."""
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        until = parsedate_to_datetime(text).replace(tzinfo=UTC)  # an HTTP date is always in GMT
    except ValueError:
        return 0
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
