"""Streams for whoever is signed in with aiohttp-session; ``pip install aiohttp-session``.

python docs/examples/session.py
curl -c jar -d user=alice http://127.0.0.1:8080/login
curl -N -b jar http://127.0.0.1:8080/notify
"""

import secrets

import aiohttp_session
from aiohttp import web
from aiohttp_session.cookie_storage import EncryptedCookieStorage

import aionotify

DAY = 86_400  # seconds


class SessionAuthenticator:
    """Whoever has a session with a user in it is that user."""

    async def authenticate(self, request: web.Request) -> aionotify.Identity:
        # Not get_session(): it caches, and would give an open stream an outdated session.
        session = await request[aiohttp_session.STORAGE_KEY].load_session(request)
        if "user" not in session:
            raise aionotify.CredentialsMissing("sign in first")
        expires_at = session.created + DAY
        return aionotify.Identity(session["user"], expires_at=expires_at)


async def login(request: web.Request) -> web.Response:
    """Believe whoever comes; yours looks at a password."""
    session = await aiohttp_session.new_session(request)
    session["user"] = str((await request.post())["user"])
    return web.Response(text="welcome")


def make_app(redis_url: str = "redis://127.0.0.1:6379/0") -> web.Application:
    app = web.Application()
    # A key that is made at each start signs everybody out; yours comes from a file.
    storage = EncryptedCookieStorage(secrets.token_bytes(32), max_age=DAY, samesite="Lax")
    aiohttp_session.setup(app, storage)
    app.router.add_post("/login", login)
    config = aionotify.Config.from_mapping({"redis": {"url": redis_url}, "server": {"drain": 2}})
    aionotify.setup(app, config, authenticator=SessionAuthenticator())
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", handler_cancellation=True)
