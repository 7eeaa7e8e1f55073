"""Streams for whoever aiohttp-security lets in; ``pip install aiohttp-security``.

python docs/examples/security.py
curl -c jar -d user=alice http://127.0.0.1:8080/login
curl -N -b jar http://127.0.0.1:8080/notify
curl -X POST http://127.0.0.1:8080/users/alice/ban
"""

import enum
import secrets
from typing import Any, Final

import aiohttp_security
from aiohttp import web

import aionotify

SESSIONS: Final = web.AppKey("sessions", dict[str, str])  # what is in the cookie -> user


class Policy(aiohttp_security.AbstractAuthorizationPolicy):
    """Looks up who a cookie belongs to; it is asked again while a stream is open."""

    def __init__(self, sessions: dict[str, str]) -> None:
        self._sessions = sessions

    async def authorized_userid(self, identity: str) -> str | None:
        return self._sessions.get(identity)

    async def permits(
        self, identity: str | None, permission: str | enum.Enum, context: Any = None
    ) -> bool:
        return identity in self._sessions


class SecurityAuthenticator:
    """Whoever is authorized has a stream."""

    async def authenticate(self, request: web.Request) -> aionotify.Identity:
        user_id = await aiohttp_security.authorized_userid(request)
        if user_id is None:
            raise aionotify.CredentialsMissing("sign in first")
        return aionotify.Identity(user_id)


async def login(request: web.Request) -> web.Response:
    """Believe whoever comes; yours looks at a password."""
    session = secrets.token_urlsafe()
    request.app[SESSIONS][session] = str((await request.post())["user"])
    response = web.Response(text="welcome")
    await aiohttp_security.remember(request, response, session, httponly=True, samesite="Lax")
    return response


async def ban(request: web.Request) -> web.Response:
    """End all sessions of a user; all streams follow within ``auth.revalidate`` seconds."""
    sessions = request.app[SESSIONS]
    for session in [key for key, user in sessions.items() if user == request.match_info["user"]]:
        del sessions[session]
    return web.Response(text="gone")


def make_app(
    redis_url: str = "redis://127.0.0.1:6379/0", revalidate: float = 60
) -> web.Application:
    app = web.Application()
    app[SESSIONS] = {}
    policy = Policy(app[SESSIONS])
    aiohttp_security.setup(app, aiohttp_security.CookiesIdentityPolicy(), policy)
    app.router.add_post("/login", login)
    app.router.add_post("/users/{user}/ban", ban)
    config = aionotify.Config.from_mapping(
        {
            "redis": {"url": redis_url},
            "auth": {"revalidate": revalidate},
            "server": {"drain": 2},
        }
    )
    aionotify.setup(app, config, authenticator=SecurityAuthenticator())
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", handler_cancellation=True)
