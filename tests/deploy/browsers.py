"""Browsers that watch a deploy: several tabs over one HTTP/2 connection each.

They do what EventSource does (HTML Standard, section 9.2): whatever ends a stream, they come back
after the time that the server has given, with the last event id; but a status other than 200 is the
end of it, and what a deploy must not cause.
"""

import asyncio
import json
import ssl
from collections import Counter, defaultdict
from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.harness import EventParser

HOST = "push.example.com"


class Tab:
    """One user's stream, over as many connections as it takes.

    Attributes:
        seen: the numbers of the events, by the recipient that they name.
        told: control events, by name.
        ends: how the streams ended.
        refused: the status that ended it all, or None.
        opened: how often a stream began.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.seen: defaultdict[str, list[int]] = defaultdict(list)
        self.told: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.refused: int | None = None
        self.opened = 0
        self.retry = 3.0
        self._parser = EventParser()

    def headers(self) -> list[tuple[str, str]]:
        """The request's."""
        headers = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", "/notify"),
            ("accept", "text/event-stream"),
            ("authorization", f"Bearer token-{self.user}"),
        ]
        if self._parser.last_event_id:
            headers.append(("last-event-id", self._parser.last_event_id))
        return headers

    def answered(self, status: int) -> None:
        if status == 200:
            self._parser = EventParser(self._parser.last_event_id)
            self.opened += 1
        else:
            self.refused = status

    def take(self, data: bytes) -> None:
        for event in self._parser.feed(data):
            if event.event.startswith("aionotify."):
                self.told[event.event] += 1
            else:
                content = json.loads(event.data)
                self.seen[content["recipient_id"]].append(content["number"])
        if self._parser.retry is not None:
            self.retry = self._parser.retry / 1000


class Browser:
    """Some tabs on one connection, which is made anew when it is lost.

    Args:
        late: for how many seconds it waits before it connects for the first time.
    """

    def __init__(
        self, port: int, trust: ssl.SSLContext, tabs: Iterable[Tab], late: float = 0
    ) -> None:
        self.tabs = list(tabs)
        self._late = late
        self.connections = 0
        self._port = port
        self._trust = trust
        self._http: H2Connection
        self._writer: asyncio.StreamWriter
        self._open: dict[int, Tab] = {}

    async def run(self) -> None:
        """Until it is cancelled, or the proxy refuses the connection."""
        await asyncio.sleep(self._late)
        while True:
            reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._trust, server_hostname=HOST
            )
            self.connections += 1
            self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
            self._http.initiate_connection()
            self._open.clear()
            try:
                for tab in self.tabs:
                    self._request(tab)
                await self._read(reader)
            finally:
                self._writer.close()
            for tab in self._open.values():
                tab.ends["connection lost"] += 1

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            for event in self._http.receive_data(data):
                self._take(event)
            self._flush()

    def _take(self, event: Event) -> None:
        tab = self._open.get(getattr(event, "stream_id", None) or 0)
        if tab is None:
            return
        if isinstance(event, ResponseReceived):
            # Text, as header_encoding asks for; h2 does not tell the type checker.
            tab.answered(int(dict(event.headers)[":status"]))  # type: ignore[index]
        elif isinstance(event, DataReceived):
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            tab.take(event.data)
        elif isinstance(event, StreamEnded):
            self._ended(tab, event.stream_id, "complete")
        elif isinstance(event, StreamReset) and event.error_code == ErrorCodes.REFUSED_STREAM:
            # Nobody has looked at the request, so a browser repeats it unasked: RFC 9113, 8.7.
            self._later(0.1, self._open.pop(event.stream_id))
        elif isinstance(event, StreamReset):
            self._ended(tab, event.stream_id, f"reset {ErrorCodes(event.error_code).name}")

    def _ended(self, tab: Tab, stream: int, how: str) -> None:
        del self._open[stream]
        tab.ends[how] += 1
        if tab.refused is None:
            self._later(tab.retry, tab)

    def _later(self, seconds: float, tab: Tab) -> None:
        http, loop = self._http, asyncio.get_running_loop()
        loop.call_later(seconds, lambda: self._request(tab) if http is self._http else None)

    def _request(self, tab: Tab) -> None:
        try:
            stream = self._http.get_next_available_stream_id()
            self._http.send_headers(stream, tab.headers(), end_stream=True)
        except ProtocolError:  # the proxy has said that it takes no more on this connection
            if not self._open:
                self._writer.close()
            return
        self._open[stream] = tab
        self._flush()

    def _flush(self) -> None:
        if not self._writer.is_closing():
            self._writer.write(self._http.data_to_send())
