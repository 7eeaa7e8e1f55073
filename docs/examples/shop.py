"""A shop that tells its customers, wherever they are signed in, when an order leaves.

python docs/examples/shop.py
curl -N -H 'Authorization: Bearer secret-of-alice' http://127.0.0.1:8080/push/notify
curl -X POST http://127.0.0.1:8080/orders/7/ship
"""

from typing import Final

from aiohttp import web

import aionotify

TOKENS: Final = {"secret-of-alice": "alice", "secret-of-bob": "bob"}
BUYERS: Final = {"7": "alice", "8": "bob"}


class Customers:
    """Says who a request is from, in place of a main host: this is the main host."""

    async def authenticate(self, request: web.Request) -> aionotify.Identity:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise aionotify.CredentialsMissing("sign in first")
        if token not in TOKENS:
            raise aionotify.InvalidToken("no such token")
        return aionotify.Identity(TOKENS[token])


async def ship(request: web.Request) -> web.Response:
    """Send an order, and let its buyer know."""
    order = request.match_info["order"]
    if order not in BUYERS:
        raise web.HTTPNotFound
    await request.app[aionotify.PUBLISHER].publish(
        {"recipient_id": BUYERS[order], "event": "order.shipped", "data": {"order": order}}
    )
    return web.json_response({"shipped": order})


def make_app(redis_url: str = "redis://127.0.0.1:6379/0") -> web.Application:
    app = web.Application()
    app.router.add_post("/orders/{order}/ship", ship)
    config = aionotify.Config.from_mapping({"redis": {"url": redis_url}, "server": {"drain": 2}})
    aionotify.setup(app, config, prefix="/push", authenticator=Customers())
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", handler_cancellation=True)
