"""Three parsers of event streams that share no code with us, behind one signature.

Each is given the chunks of a body and returns what a client would dispatch.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from logging import Logger
from typing import Self

import httpx
from httpx_sse import EventSource
from ld_eventsource import SSEClient  # type: ignore[import-untyped]
from ld_eventsource.actions import Event, Fault  # type: ignore[import-untyped]
from ld_eventsource.config import connect_strategy  # type: ignore[import-untyped]

from tests.harness import EventParser, SSEEvent

Parser = Callable[[Sequence[bytes]], list[SSEEvent]]


def standard(chunks: Sequence[bytes]) -> list[SSEEvent]:
    """The algorithm of the HTML Standard, as the test harness has it."""
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def httpx_sse(chunks: Sequence[bytes]) -> list[SSEEvent]:
    """PyPI: httpx-sse."""
    headers = {"Content-Type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=iter(chunks))
    return [
        SSEEvent(event.id, event.event, event.data) for event in EventSource(response).iter_sse()
    ]


def launchdarkly(chunks: Sequence[bytes]) -> list[SSEEvent]:
    """PyPI: launchdarkly-eventsource."""
    with SSEClient(_Fixed(chunks)) as client:
        client.start()
        # At the end of the body it would connect again, for ever.
        actions = takewhile(lambda action: not isinstance(action, Fault), client.all)
        return [
            SSEEvent(action.last_event_id or "", action.event, action.data)
            for action in actions
            if isinstance(action, Event)
        ]


PARSERS: Sequence[Parser] = (standard, httpx_sse, launchdarkly)


class _Fixed(connect_strategy.ConnectStrategy, connect_strategy.ConnectionClient):  # type: ignore[misc]
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks

    def create_client(self, logger: Logger) -> Self:
        return self

    def connect(self, last_event_id: str | None) -> object:
        return connect_strategy.ConnectionResult(iter(self._chunks), None)
