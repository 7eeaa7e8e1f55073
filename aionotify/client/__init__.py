"""An SSE client for Python services."""

from aionotify.client.client import Client, StreamRefused
from aionotify.client.parser import EventTooLong, ServerSentEvent

__all__ = ("Client", "EventTooLong", "ServerSentEvent", "StreamRefused")
