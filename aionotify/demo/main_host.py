"""A stub of a main host: an application that knows two users, and nothing else.

It answers the one question that aionotify asks, the way a real application would.
"""

from collections.abc import Mapping

from aiohttp import hdrs, web

from aionotify.config import MainHostConfig


def main_host(users: Mapping[str, str]) -> web.Application:
    """Return an application in which `users` gives the user of each token."""

    async def whose(request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or token not in users:
            return web.json_response({"detail": "unknown token"}, status=401)
        return web.json_response({"user_id": users[token]})

    app = web.Application()
    app.router.add_get(MainHostConfig().path, whose)
    return app
