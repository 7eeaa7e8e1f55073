"""A main host: says who a token belongs to, and fails in the ways that main hosts do."""

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from aiohttp import web

from tests.harness.ports import free_port


class Mode(Enum):
    """How the main host behaves."""

    OK = auto()
    SLOW = auto()  # as OK, but `MainHost.delay` seconds late
    REFUSE = auto()  # 401 to everybody
    ERROR = auto()  # 500
    NONSENSE = auto()  # 200, and a body that names nobody
    DOWN = auto()  # nobody listens on its port


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the main host got."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def token(self) -> str:
        """The bearer token, or an empty text."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")


class MainHost:
    """A main host, on an event loop and a thread of its own while it is entered.

    ``token-42`` is user ``42``. `answers` has the JSON for further tokens, `refused` the tokens
    that get a 401. `asked` grows with each request; `in_flight` are those not answered yet.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.delay = 1.0
        self.answers: dict[str, object] = {}
        self.refused: set[str] = set()
        self.asked: list[Asked] = []
        self.most_in_flight = 0
        self.in_flight = 0
        self._mode = Mode.OK
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="main-host")
        self._runner: web.AppRunner | None = None

    @property
    def mode(self) -> Mode:
        """How it behaves; a change is in force as soon as it is made."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._call(self._close() if mode is Mode.DOWN else self._listen())

    @property
    def asked_about(self) -> Counter[str]:
        """How many requests there were for each token."""
        return Counter(asked.token for asked in self.asked)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        if self._runner is not None:
            return
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Whoever gives a question up is no longer in flight.
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024).start()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(asked := Asked(request.method, request.path, dict(request.headers)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._mode is Mode.SLOW:
                await asyncio.sleep(self.delay)
            return self._verdict(asked.token)
        finally:
            self.in_flight -= 1

    def _verdict(self, token: str) -> web.Response:
        if self._mode is Mode.ERROR:
            return web.Response(status=500, text="out of order")
        if self._mode is Mode.NONSENSE:
            return web.Response(text="<html>Welcome!</html>", content_type="text/html")
        if self._mode is Mode.REFUSE or token in self.refused:
            return web.Response(status=401)
        if token in self.answers:
            return web.json_response(self.answers[token])
        if token.startswith("token-"):
            return web.json_response({"user_id": token.removeprefix("token-")})
        return web.Response(status=401)
