"""What stands around every handler of ours, and around none of an embedding application's."""

import logging
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from aionotify.web.cors import cors_headers
from aionotify.web.errors import describe
from aionotify.web.request_id import HEADER, request_id
from aionotify.web.services import Services

_log = logging.getLogger(__name__)


def around(handler: Handler, *middlewares: Middleware) -> Handler:
    """`handler` behind middlewares, the first outermost.

    Application.middlewares would catch the routes of an application that we are set up in too.
    """
    for middleware in reversed(middlewares):
        handler = partial(middleware, handler=handler)
    return handler


def answering(services: Services) -> Middleware:
    """A middleware that turns errors into JSON answers.

    All answers get the request's id, and CORS headers.
    """

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await handler(request)
        except Exception as error:
            if isinstance(error, web.HTTPException) and error.status < 400:
                raise
            id = request_id(request)
            code, response = describe(error, id)
            services.stats.refused[code] += 1
            fields = {"request": id, "path": request.path, "code": code}
            _log.debug("request refused", extra={"fields": fields})
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()  # or the answer would end up in the stream that failed
        if not response.prepared:  # a stream has sent its own
            response.headers[HEADER] = request_id(request)
            if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in response.headers:  # else it is for anybody
                response.headers.update(cors_headers(request, services.terms.config.cors.origins))
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
