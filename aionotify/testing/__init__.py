"""For the tests of those who use aionotify: a real server, and publishers that only record.

`aionotify.testing.plugin` has the server as a fixture of pytest; nothing else here needs pytest.
"""

from aionotify.testing.fakes import FakePublisher, FakeSyncPublisher
from aionotify.testing.server import Listener, Server

__all__ = ("FakePublisher", "FakeSyncPublisher", "Listener", "Server")
