"""A main host on loopback that can be made slow, refusing, failing or a liar while it runs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web
from aiohttp.test_utils import TestServer

PATH = "/api/v1/is_user_auth/"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StubMainHost:
    """Knows `users` by token; counts what it is asked. Set `answer` to make it misbehave."""

    def __init__(self) -> None:
        self.users: dict[str, object] = {}
        self.expires_in: object = None
        self.asked: list[web.Request] = []
        self.at_once = 0
        self.most_at_once = 0
        self.answer: Answer = self.honest
        self.open = asyncio.Event()
        """While not set, every answer waits."""
        self.open.set()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(app)

    async def start(self) -> None:
        await self._server.start_server()

    async def stop(self) -> None:
        """Go down: its port refuses connections from now on."""
        self.open.set()
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url(""))

    async def honest(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
        if token not in self.users:
            return web.json_response({"detail": "unknown"}, status=401)
        answer = {"user_id": self.users[token]}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return web.json_response(answer)

    def says(
        self, text: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer everything with this body."""
        body = text if isinstance(text, bytes) else text.encode()

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=headers)

        self.answer = answer

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
            return await self.answer(request)
        finally:
            self.at_once -= 1
