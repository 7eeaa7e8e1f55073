"""The response that a stream begins as: its head, and who looks after the connection then."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp_sse
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from aionotify.streams import sockets
from aionotify.streams.hand_over import hand_over
from aionotify.streams.reasons import CloseReason
from aionotify.streams.stream import Stream

HEADERS: Final = {
    # The charset is always UTF-8. Some clients take a text without the word for Latin-1.
    "Content-Type": "text/event-stream; charset=utf-8",
    # no-cache, which aiohttp-sse sets, lets a cache keep what it has to ask about again;
    # no-transform keeps compressing proxies from collecting events until a block is full.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx
    "X-Content-Type-Options": "nosniff",
}


class NotificationResponse(aiohttp_sse.EventSourceResponse):
    """The answer to a request that opens a stream.

    Args:
        send_timeout: seconds that a client may take nothing.
        headers: further ones.
    """

    _send_headers_immediately = False  # aiohttp's word for: together with the first of the body

    def __init__(self, send_timeout: float, headers: Mapping[str, str]) -> None:
        super().__init__(send_timeout=send_timeout)
        # Connection is forbidden in HTTP/2 (RFC 9113 section 8.2.2), and Safari rejects a
        # response that a proxy passed on with it.
        del self.headers["Connection"]
        self.headers.update(HEADERS)
        self.headers.update(headers)
        self._bound_to = send_timeout
        self._handed_over = False
        self._writer: AbstractStreamWriter

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Prepare the head, as in aiohttp-sse, but for its ping task: heartbeats come from one
        task for all streams.
        """
        if self._handed_over:
            return self._writer
        if self.prepared:
            return await super().prepare(request)
        if request.transport is None:
            raise asyncio.CancelledError  # the client left meanwhile; aiohttp-sse does the same
        sockets.bound(request.transport, self._bound_to)
        if request.version >= (1, 1):
            self.enable_chunked_encoding()
        else:
            self.force_close()  # nothing else tells an HTTP/1.0 client where the stream ends
        writer = await super(aiohttp_sse.EventSourceResponse, self).prepare(request)
        assert writer is not None
        if request.transport is None:
            raise asyncio.CancelledError  # or while the application's signals took their time
        # A future in its place keeps `wait`, `is_connected` and `stop_streaming` what they are.
        self._ping_task = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
        self._writer = writer
        return writer

    async def serve(
        self,
        request: web.BaseRequest,
        stream: Stream,
        on_end: Callable[[Stream], None],
        *,
        may_hand_over: bool,
    ) -> None:
        """Let the stream have the connection, from this step of the event loop on.

        Returns at once where it is handed over to the stream; otherwise when the stream has ended.

        Raises:
            asyncio.CancelledError: the client is gone.
        """
        transport, ended = request.transport, self._ping_task
        assert transport is not None
        assert ended is not None
        self._handed_over = may_hand_over and hand_over(request, stream)
        if self._handed_over:
            stream.begin(transport, on_end, in_chunks=self.chunked)
            return
        # Drop what the client sends after its request. aiohttp would keep it as further requests,
        # up to a megabyte each.
        request.protocol.close()
        stream.begin(
            transport, on_end, in_chunks=self.chunked, drain=self._writer.drain, ended=ended
        )
        try:
            await self.wait()
        finally:
            stream.close(CloseReason.GONE)  # unless it has ended, and that is why

    async def write_eof(self, data: bytes = b"") -> None:
        """End the body, unless it is the stream's to end."""
        if not self._handed_over:
            await super().write_eof(data)
