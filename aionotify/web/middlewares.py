"""What stands around every handler of ours, and around none of an embedding application's."""

from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from aionotify.web.cors import cors_headers
from aionotify.web.errors import describe, unexpected
from aionotify.web.services import Services


def around(handler: Handler, *middlewares: Middleware) -> Handler:
    """`handler` behind middlewares, the first outermost.

    Application.middlewares would catch the routes of an application that we are set up in too.
    """
    for middleware in reversed(middlewares):
        handler = partial(middleware, handler=handler)
    return handler


def answering(services: Services) -> Middleware:
    """A middleware that turns errors into JSON answers and adds CORS headers to all answers."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None
        try:
            response = await handler(request)
        except Exception as error:
            response = describe(error, services.stats)
            if response is None:
                if isinstance(error, web.HTTPException):
                    raise
                response = unexpected(error)
        if not response.prepared:  # a stream has sent its own
            response.headers.update(cors_headers(request, services.config.cors.origins))
        return response

    return answer


def limiting(services: Services) -> Middleware:
    """A middleware that refuses what this node has no room for, before anybody is asked anything.

    A client that is refused repeats itself, some every second for ever.
    """

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        services.hub.check_room()
        address = services.limits.enter(request)
        try:
            return await handler(request)
        finally:
            services.limits.leave(address)

    return limit
