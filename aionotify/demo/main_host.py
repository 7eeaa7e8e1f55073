"""A stub of a main host: an application that knows two users.

It answers aionotify's request as a real application would.
"""

from collections.abc import Mapping

from aiohttp import hdrs, web

from aionotify.config import MainHostConfig


def main_host(users: Mapping[str, str]) -> web.Application:
    """Return the application; `users` has the user of each token."""

    async def whose(request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or token not in users:
            return web.json_response({"detail": "unknown token"}, status=401)
        return web.json_response({"user_id": users[token]})

    app = web.Application()
    app.router.add_get(MainHostConfig().path, whose)
    return app
