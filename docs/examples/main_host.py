"""A main host: an application that says whose a token is.

python docs/examples/main_host.py
aionotify serve
curl -N -H 'Authorization: Bearer secret-of-alice' http://127.0.0.1:8001/notify
"""

from typing import Final

from aiohttp import web

TOKENS: Final = {"secret-of-alice": "alice", "secret-of-bob": "bob"}


async def is_user_auth(request: web.Request) -> web.Response:
    """Answer the one question that is asked: yours looks into a database."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or token not in TOKENS:
        return web.json_response({"detail": "no such token"}, status=401)
    return web.json_response({"user_id": TOKENS[token], "expires_in": 3600})


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/api/v1/is_user_auth/", is_user_auth)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8000)
