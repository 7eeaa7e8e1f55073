"""The middleware that lets a request in, or not."""

from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aionotify.auth.identity import Authenticator, Identity

IDENTITY: Final = web.RequestKey("aionotify.identity", Identity)
"""Who a request is from: ``request[aionotify.IDENTITY]``, in a handler behind the middleware."""


def authentication(authenticator: Authenticator) -> Middleware:
    """A middleware that asks `authenticator` who a request is from.

    What it raises (an AuthError) leaves the middleware as it is: becoming an answer is the next
    one's work.
    """

    @web.middleware
    async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[IDENTITY] = await authenticator.authenticate(request)
        return await handler(request)

    return authenticate
