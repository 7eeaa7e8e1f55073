"""Real server processes; they bring an event loop of their own, so the tests' matters little."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from tests.harness import PATIENCE, MainHost, NotifyServer, RedisServer

Serve = Callable[..., Awaitable[NotifyServer]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each test here once."""
    return {"asyncio": asyncio.SelectorEventLoop}


BOTH_WAYS = pytest.mark.parametrize(
    "hand_over", [True, False], ids=["handed over", "not handed over"], indirect=True
)
"""Runs a test of what streams do twice: it is the same whoever has their connections."""


@pytest.fixture
def hand_over(request: pytest.FixtureRequest) -> bool:
    """Whether streams take their connections over."""
    return bool(getattr(request, "param", True))


@pytest.fixture
async def serve(
    redis_server: RedisServer, main_host: MainHost, hand_over: bool
) -> AsyncIterator[Serve]:
    """Start servers, given settings as for `NotifyServer`, on the shared Redis and main host.

    None takes a default away. Keywords go to `NotifyServer.start`. Fails a test in which a server
    logged a traceback.
    """
    defaults: dict[str, object] = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
    }
    if not hand_over:
        defaults["stream.hand_over"] = False
    servers: list[NotifyServer] = []
    async with AsyncExitStack() as running:

        async def start(
            settings: Mapping[str, object] | None = None,
            *,
            until: str | None = "/readyz",
            timeout: float = PATIENCE,
            file: Path | None = None,
        ) -> NotifyServer:
            merged = {**defaults, **(settings or {})}
            server = NotifyServer({k: v for k, v in merged.items() if v is not None}, file)
            servers.append(server)
            running.push_async_callback(server.aclose)
            await server.start(until=until, timeout=timeout)
            return server

        yield start
    broken = [server for server in servers if any("Traceback" in line for line in server.logs)]
    assert not broken, f"a server logged a traceback:\n{broken[0]}"


class Manager:
    """A service manager: hears what a service tells it, in order."""

    def __init__(self, path: Path) -> None:
        self.states: list[str] = []
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._hear)

    def _hear(self) -> None:
        self.states.append(self._sock.recv(4096).decode())

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    def told(self, state: str) -> int:
        return sum(state in each.split("\n") for each in self.states)


@pytest.fixture
async def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manager]:
    """The service manager of every process that the test starts."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with closing(Manager(tmp_path / "notify")) as made:
        yield made
