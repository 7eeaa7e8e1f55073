"""The server that is measured: a node as `aionotify serve` runs it, and baselines in its process.

The baselines are here because the same process, sockets, interpreter and moment are what makes
two figures comparable.
"""

import asyncio
import gc
import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp_sse
import msgspec
from aiohttp import web

import aionotify
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.broker.keys import Keys
from aionotify.events.event import decode
from aionotify.events.frame import chunk, frame
from aionotify.instance import INSTANCE
from aionotify.process.node import RUNNER_OPTIONS, collect_less
from aionotify.process.sockets import BACKLOG, listen, tune
from aionotify.streams.hub import Hub
from aionotify.streams.stream import Stream
from aionotify.telemetry import logs
from scripts.bench import control

_TIMEOUT = 30.0  # seconds that streams may take to be as many as expected


class Usage(msgspec.Struct):
    """What the process has used: `cpu` in seconds, `rss` (resident memory) in bytes."""

    cpu: float
    rss: int


class Named(BearerAuthenticator):
    """An authenticator that believes what it is told."""

    async def identify(self, token: str, *, fresh: bool = False) -> aionotify.Identity:
        return aionotify.Identity(token)

    def token_of(self, request: web.Request) -> str:
        return request.query["u"]

    async def close(self) -> None: ...


class Server:
    """What the benchmark can have done. All applications are in this one process."""

    def __init__(self) -> None:
        self._hubs: dict[str, Hub] = {}
        self._apps: dict[str, web.Application] = {}
        self._runners: list[web.AppRunner] = []
        self._bare_streams = 0
        self._on_trigger: Callable[[], object] = lambda: None

    async def serve(self, name: str, config: dict[str, Any], *, ask: bool = False) -> int:
        """Start a node and return its port; `ask` the configured authenticator, or believe."""
        app = aionotify.create_app(aionotify.Config.from_mapping(config), None if ask else Named())
        self._apps[name] = app
        self._hubs[name] = app[INSTANCE].services.hub
        return await self._listen(app)

    async def serve_bare(self) -> int:
        """Start an application that has nothing but an aiohttp-sse handler; return its port."""
        app = web.Application()
        app.router.add_get("/notify", self._bare)
        return await self._listen(app)

    async def _listen(self, app: web.Application) -> int:
        runner = web.AppRunner(app, **RUNNER_OPTIONS)
        await runner.setup()
        self._runners.append(runner)
        [[sock]] = listen("127.0.0.1", 0)
        tune(sock)
        await web.SockSite(runner, sock, backlog=BACKLOG).start()
        port: int = sock.getsockname()[1]
        return port

    async def _bare(self, request: web.Request) -> web.StreamResponse:
        async with aiohttp_sse.sse_response(request) as response:
            self._bare_streams += 1
            try:
                await response.wait()
            finally:
                self._bare_streams -= 1
        return response

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    # --- looking --------------------------------------------------------------------------------

    async def until(self, streams: int) -> Usage:
        """Wait until there are just so many streams, all of them live; then as `usage`."""
        async with asyncio.timeout(_TIMEOUT):
            while self._streams() != streams:  # noqa: ASYNC110 - being told would cost the node
                await asyncio.sleep(0.02)
        return self.usage()

    def _streams(self) -> int:
        """How many there are, or -1 while some are still on their way to being live."""
        streams = [stream for hub in self._hubs.values() for stream in hub.streams()]
        entered = sum(map(len, self._hubs.values()))
        if len(streams) < entered or not all(stream.live for stream in streams):
            return -1
        return entered + self._bare_streams

    def usage(self) -> Usage:
        with open("/proc/self/statm", "rb") as statm:
            pages = int(statm.read().split()[1])
        return Usage(time.process_time(), pages * os.sysconf("SC_PAGE_SIZE"))

    def tidy(self) -> Usage:
        """Collect garbage, so that it is not charged to what comes next; then as `usage`."""
        gc.collect()
        return self.usage()

    def counted(self, name: str) -> dict[str, int]:
        """The node's own counters."""
        stats = self._hubs[name].stats
        names = ("delivered_live", "delivered_catch_up", "dropped_full", "fell_behind", "missed")
        return {each: getattr(stats, each) for each in names}

    # --- baselines ------------------------------------------------------------------------------

    async def trigger(self) -> int:
        """Open the port on which each byte makes one write of `bare`; return it."""
        server = await asyncio.get_running_loop().create_server(
            lambda: _Trigger(self), "127.0.0.1", 0
        )
        port: int = server.sockets[0].getsockname()[1]
        return port

    def triggered(self) -> None:
        self._on_trigger()

    def bare(self, name: str, event: str, cursor: str | None, *, everyone: bool) -> None:
        """Have the trigger write the frame of `event` to the next stream, or to `everyone`."""
        writes = self._writes(name)
        data = _chunk(event, cursor)
        if everyone:
            self._on_trigger = lambda: [write(data) for write in writes]
        else:
            turn = itertools.cycle(writes)
            self._on_trigger = lambda: next(turn)(data)

    def bare_loop(self, name: str, event: str, cursor: str | None, times: int) -> float:
        """Write the frame of `event` to each stream, `times` in one write; return CPU seconds."""
        writes = self._writes(name)
        data = _chunk(event, cursor) * times
        began = time.process_time()
        for write in writes:
            write(data)
        return time.process_time() - began

    def _writes(self, name: str) -> list[Callable[[bytes], None]]:
        writes: list[Callable[[bytes], None]] = []
        for stream in self._hubs[name].streams():
            assert isinstance(stream, Stream)
            writes.append(stream._transport.write)
        random.shuffle(writes)
        return writes

    async def bare_read(self, name: str, recipients: list[str], batch: int) -> float:
        """Read whole inboxes with LRANGE, many in a pipeline; return CPU seconds."""
        keys = Keys("aionotify", "")
        inboxes = [keys.inbox(recipient) for recipient in recipients]
        execute = self._apps[name][INSTANCE]._endpoint.commands("reads").execute
        began = time.process_time()
        for some in _batches(inboxes, batch):
            await execute([("LRANGE", key, 0, -1) for key in some])
        return time.process_time() - began


class _Trigger(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def data_received(self, data: bytes) -> None:
        triggered = self._server.triggered
        for _ in data:
            triggered()


def _chunk(event: str, cursor: str | None) -> bytes:
    decoded = decode(event.encode())
    data = decoded.data(decoded.recipients[0])
    return chunk(frame(data, decoded.type, None if cursor is None else cursor.encode()))


def _batches(keys: list[str], size: int) -> list[list[str]]:
    return [keys[start : start + size] for start in range(0, len(keys), size)]


async def main(descriptor: int) -> None:
    server = Server()
    names = ("serve", "serve_bare", "until", "usage", "tidy", "counted")
    baselines = ("trigger", "bare", "bare_loop", "bare_read")
    await control.obey(descriptor, {n: getattr(server, n) for n in (*names, *baselines)})
    await server.close()


if __name__ == "__main__":
    with Path(os.devnull).open("w") as nowhere:
        logs.configure(sys.argv[3], "text", nowhere)
        collect_less()
        control.run(main(int(sys.argv[1])), sys.argv[2])
