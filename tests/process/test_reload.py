"""When the configuration is read again, and what comes of it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from aionotify.config import Config, LogConfig, ServerConfig
from aionotify.errors import ConfigError
from aionotify.process.reload import Reloading
from tests.harness import eventually

CONFIG = Config(log=LogConfig(level="debug"))


class Server:
    """Reads what it is told to, and goes by it unless that is told to be wrong."""

    def __init__(self) -> None:
        self.found: Config | Exception = CONFIG
        self.wrong: Exception | None = None
        self.loads = 0
        self.may_load = threading.Event()
        self.may_load.set()
        self.adopted: list[Config] = []
        self.refusals = 0
        self.told: list[str] = []
        self.reloading = Reloading(CONFIG, self.load, self.told.append)

    def load(self) -> Config:
        self.loads += 1
        assert self.may_load.wait(10)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def adopt(self, config: Config) -> None:
        if self.wrong is not None:
            raise self.wrong
        self.adopted.append(config)

    def refused(self) -> None:
        self.refusals += 1

    @property
    def done(self) -> int:
        return self.told.count("READY=1")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reloading.run(self.adopt, self.refused))
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_reload_that_is_asked_for_too_early_is_done_later(server: Server) -> None:
    for _ in range(3):
        server.reloading.ask()
    assert server.loads == 0
    async with server.running():
        await eventually(lambda: server.done)
    assert server.adopted == [CONFIG]


async def test_reloads_that_are_asked_for_during_one_lead_to_one_more(server: Server) -> None:
    server.may_load.clear()
    async with server.running():
        server.reloading.ask()
        await eventually(lambda: server.loads == 1)
        for _ in range(10):
            server.reloading.ask()
        server.may_load.set()
        await eventually(lambda: server.done == 2)
    assert server.loads == 2
    assert [told.partition("\n")[0] for told in server.told] == ["RELOADING=1", "READY=1"] * 2


@pytest.mark.parametrize("where", ["found", "wrong"])
@pytest.mark.parametrize("error", [ConfigError({"redis.url": "no"}, "f.yaml"), MemoryError()])
async def test_a_reload_that_fails_is_told_and_the_next_one_is_tried(
    server: Server, where: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.running():
        setattr(server, where, error)
        server.reloading.ask()
        await eventually(lambda: server.done == 1)
        assert (server.adopted, server.refusals) == ([], 1)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        expected = "f.yaml: redis.url: no" if isinstance(error, ConfigError) else "MemoryError"
        assert str(server.reloading.problem).endswith(f"Z: {expected}")
        server.found, server.wrong = CONFIG, None
        server.reloading.ask()
        await eventually(lambda: server.done == 2)
        assert server.reloading.problem is None
        assert (server.adopted, server.refusals) == ([CONFIG], 1)


async def test_a_reason_for_a_status_is_one_short_line(server: Server) -> None:
    server.found = ConfigError({"x\nSTOPPING=1": "y" * 1000})
    async with server.running():
        server.reloading.ask()
        await eventually(lambda: server.done)
    assert server.reloading.problem is not None
    assert server.reloading.problem.isprintable()
    assert len(server.reloading.problem) < 300


async def test_a_setting_that_takes_a_restart_is_not_taken_to_be_in_force(server: Server) -> None:
    found = replace(CONFIG, server=ServerConfig(port=9000, drain=1.0))
    server.found = found
    async with server.running():
        server.reloading.ask()
        await eventually(lambda: server.done == 1)
        server.reloading.ask()
        await eventually(lambda: server.done == 2)
    assert server.adopted == [found, found]
    assert server.reloading.config == replace(CONFIG, server=ServerConfig(drain=1.0))


async def test_at_the_end_nothing_is_read_any_more(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with server.running():
        await asyncio.sleep(0)
    server.reloading.ask()
    assert server.loads == 0
    assert "reload ignored, the server is stopping" in caplog.text
