"""Real parts to test against, each of which can be made to fail."""

from tests.harness.clock import Clock, NoCompiler
from tests.harness.main_host import Asked, MainHost, Mode
from tests.harness.ports import free_port
from tests.harness.proxy import TcpProxy
from tests.harness.redis_server import RedisServer
from tests.harness.server import NotifyServer
from tests.harness.sse import EventParser, SSEClient, SSEEvent
from tests.harness.wait import PATIENCE, eventually

__all__ = (
    "PATIENCE",
    "Asked",
    "Clock",
    "EventParser",
    "MainHost",
    "Mode",
    "NoCompiler",
    "NotifyServer",
    "RedisServer",
    "SSEClient",
    "SSEEvent",
    "TcpProxy",
    "eventually",
    "free_port",
)
