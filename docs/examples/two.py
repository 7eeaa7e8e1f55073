"""Two instances in one process, for two kinds of users that must not hear of each other.

python docs/examples/two.py
curl -N -H 'X-User: 42' http://127.0.0.1:8080/customers/notify
curl -N -H 'X-User: 42' http://127.0.0.1:8080/staff/notify
redis-cli PUBLISH staff_notifications '{"recipient_id": "42", "data": "coffee"}'
"""

from aiohttp import web

import aionotify


class Gateway:
    """Believes a header, which a gateway in front sets and nobody else can."""

    async def authenticate(self, request: web.Request) -> aionotify.Identity:
        if "X-User" not in request.headers:
            raise aionotify.CredentialsMissing("not from the gateway")
        return aionotify.Identity(request.headers["X-User"])


def make_app(redis_url: str = "redis://127.0.0.1:6379/0") -> web.Application:
    app = web.Application()
    for users in ("customers", "staff"):
        config = aionotify.Config.from_mapping(
            {
                # User 42 of one is not user 42 of the other, so neither channel nor keys are.
                "redis": {"url": redis_url, "channel": f"{users}_notifications", "prefix": users},
                "server": {"drain": 2},
            }
        )
        aionotify.setup(app, config, prefix=f"/{users}", authenticator=Gateway())
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", handler_cancellation=True)
