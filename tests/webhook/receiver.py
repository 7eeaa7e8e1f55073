"""An application's webhook: what it was posted, and what it is to answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Receiver:
    """Answers each request with the first of `answers`, or with 204 if there is none.

    A status, a status and a Location, or None to hang until the end.
    """

    url: str = ""
    answers: list[int | tuple[int, str] | None] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)
    """The events of all requests that were answered with 204."""
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, body := await request.read()))
        match self.answers.pop(0) if self.answers else 204:
            case None:
                await self.end.wait()
                return web.Response()
            case int(status):
                if status == 204:
                    self.taken += json.loads(body).get("events", [])
                return web.Response(status=status)
            case (status, location):
                return web.Response(status=status, headers={"Location": location})
        raise AssertionError


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serve one on a free port of 127.0.0.1."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        receiver.end.set()
        await runner.cleanup()
