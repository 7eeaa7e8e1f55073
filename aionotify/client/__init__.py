"""An SSE client for Python services."""

from aionotify.client.client import Client, StreamRefused
from aionotify.client.history import HistoryPage, ListedEvent
from aionotify.client.parser import EventTooLong, ServerSentEvent

__all__ = (
    "Client",
    "EventTooLong",
    "HistoryPage",
    "ListedEvent",
    "ServerSentEvent",
    "StreamRefused",
)
