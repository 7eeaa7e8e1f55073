"""An application with aionotify in it, in the test's own process and served as aiohttp does it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from aionotify import Config, Identity, setup
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.errors import CredentialsMissing
from aionotify.web.services import SERVICES, Services


class TokenIsUser:
    """An authenticator of the application's own: whoever says ``Bearer token-42`` is user 42."""

    async def authenticate(self, request: web.Request) -> Identity:
        token = request.headers.get("Authorization", "").removeprefix("Bearer token-")
        if not token:
            raise CredentialsMissing("who is it?")
        return Identity(token)


class KnownByToken(BearerAuthenticator):
    """The same by the token alone, so that nothing else of a request is kept."""

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        return Identity(token.removeprefix("token-"))

    async def close(self) -> None: ...


def config(redis_url: str, **sections: dict[str, Any]) -> Config:
    """A configuration that drains at once."""
    return Config.from_mapping(
        {
            "redis": {"url": redis_url},
            **sections,
            "server": {"drain": 0, **sections.get("server", {})},
        }
    )


@asynccontextmanager
async def served(app: web.Application, **options: Any) -> AsyncIterator[str]:
    """Serve `app` with aiohttp's own runner and its defaults; gives the address."""
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def embedded(
    redis_url: str,
    prepare: Callable[[web.Application], object] = lambda app: None,
    authenticator: Any = None,
    *,
    hand_over: bool = False,
    **sections: dict[str, Any],
) -> AsyncIterator[tuple[str, Services]]:
    """An application of somebody's with aionotify in it; gives its address, and what it is of."""
    app = web.Application()
    setup(
        app,
        config(redis_url, **sections),
        authenticator=authenticator or (KnownByToken() if hand_over else TokenIsUser()),
        hand_over=hand_over,
    )
    prepare(app)
    async with served(app) as url:
        yield url, app[SERVICES]
