"""What makes an application a main host: it says who a token belongs to."""

from collections.abc import Mapping

from aiohttp import hdrs, web

from aionotify.config import MainHostConfig


def routes(users: Mapping[str, str]) -> list[web.RouteDef]:
    """Return the route that aionotify asks; `users` has the user of each token."""

    async def whose(request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or token not in users:
            return web.json_response({"detail": "unknown token"}, status=401)
        return web.json_response({"user_id": users[token]})

    return [web.get(MainHostConfig().path, whose)]
