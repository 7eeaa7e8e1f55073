"""What the scenes play in: Valkey, a main host, nodes, gates, and all clients at once."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aionotify import Publisher
from tests.clients.catalogue import BUILT, PROGRAMS, Client
from tests.clients.gate import Gate
from tests.clients.pages import Browser, Page
from tests.clients.running import Process, Run
from tests.harness import MainHost, NotifyServer, RedisServer, eventually

SETTINGS = {
    "auth.cookie": "session",
    "auth.main_host.cache_ttl": 0,
    "auth.main_host.refusal_ttl": 0,
    "inbox.max_events": 10_000,
    "log.level": "warning",
    "server.drain": 1,
    "stream.heartbeat": 1,
    "stream.retry": 300,
}


class World:
    """A Redis, a main host and a browser that all scenes share, and a folder for programs.

    `patience` is how many seconds a client may take to come back, or to end.
    """

    def __init__(self, directory: Path, patience: float = 60) -> None:
        self.directory = directory
        self.patience = patience
        self.redis = RedisServer(directory)
        self.main_host = MainHost()
        self.browser = Browser()
        self.javascript = directory / "javascript"
        self._running = AsyncExitStack()
        self._scenes = 0
        self._has_browser = False

    async def __aenter__(self) -> "World":
        # Node looks for packages beside the programs.
        shutil.copytree(PROGRAMS / "javascript", self.javascript)
        (self.javascript / "node_modules").symlink_to(BUILT / "node_modules")
        self._running.enter_context(self.redis)
        self._running.enter_context(self.main_host)
        self.publisher = await self._running.enter_async_context(Publisher(self.redis.url))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    @asynccontextmanager
    async def node(
        self, file: Path | None = None, **settings: object
    ) -> AsyncIterator[NotifyServer]:
        """A node that is ready; settings as ``stream__retry=100``, or in a file that it reloads."""
        own = {name.replace("__", "."): value for name, value in settings.items()}
        places = {"redis.url": self.redis.url, "auth.main_host.url": self.main_host.url}
        async with NotifyServer({**SETTINGS, **places, **own}, file) as server:
            yield server

    @asynccontextmanager
    async def runs(self, clients: Iterable[Client]) -> AsyncIterator[list[Run]]:
        """A run of each client, with a user of its own; none is started."""
        self._scenes += 1
        runs: list[Run] = []
        for number, client in enumerate(clients):
            user = f"s{self._scenes}c{number}"
            if client.where == "browser":
                if not self._has_browser:
                    await self._running.enter_async_context(self.browser)
                    self._has_browser = True
                runs.append(Page(client, user, self.browser))
            else:
                runs.append(Process(client, user, self.directory, self.javascript))
        try:
            yield runs
        finally:
            await asyncio.gather(*(run.stop() for run in runs))

    @asynccontextmanager
    async def gates(
        self, runs: Iterable[Run], node: NotifyServer
    ) -> AsyncIterator[dict[Run, Gate]]:
        """A gate before the node for each client."""
        async with AsyncExitStack() as stack:
            yield {run: await stack.enter_async_context(Gate(port(node))) for run in runs}

    async def publish(self, run: Run, event: Mapping[str, Any] | bytes) -> str:
        """Publish an event for the user of one client; return its id."""
        if isinstance(event, bytes):
            return (await self.publisher.publish(event)).event_id
        return (await self.publisher.publish({"recipient_id": run.user, **event})).event_id

    async def until(
        self, condition: Callable[[Run], object], runs: Iterable[Run], patience: float | None = None
    ) -> None:
        """Return when the condition is true of each client, or `patience` is over."""
        runs = list(runs)

        def is_true_of_all() -> bool:
            seen = [condition(run) for run in runs]  # of each: a condition may note when it is true
            return all(seen)

        with suppress(AssertionError):  # what each has not managed is what the scene is about
            await eventually(is_true_of_all, patience or self.patience)


def port(node: NotifyServer) -> int:
    return int(node.url.rpartition(":")[2])


def told(run: Run) -> str:
    """The last that a program has written besides, as far as it fits."""
    return json.dumps(run.said[-3:])[:300] if run.said else ""
