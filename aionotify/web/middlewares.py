"""Middlewares around every handler of aionotify, and none of an embedding application."""

import logging
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from aionotify.web.errors import describe
from aionotify.web.limits import ADDRESS
from aionotify.web.request_id import HEADER, request_id
from aionotify.web.services import Services

_log = logging.getLogger(__name__)


def around(handler: Handler, *middlewares: Middleware) -> Handler:
    """Return `handler` behind `middlewares`, the first one outermost.

    Application.middlewares would also apply to the routes of an embedding application.
    """
    for middleware in reversed(middlewares):
        handler = partial(middleware, handler=handler)
    return handler


def answering(services: Services) -> Middleware:
    """Return a middleware that turns errors into JSON answers.

    It adds the request id and CORS headers to all answers. Those of a node that drains are the last
    on their connections.
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
                request.transport.abort()  # or the answer would end up in the stream
        if not response.prepared:  # a stream has sent its headers
            if services.hub.draining:
                response.force_close()
            response.headers[HEADER] = request_id(request)
            if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in response.headers:  # else it is for anybody
                response.headers.update(services.cors.headers(request, services.terms.config.cors))
        return response

    return answer


def limiting(services: Services) -> Middleware:
    """Return a middleware that refuses requests over the limits, before authentication."""

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        services.hub.check_room()
        if (address := services.limits.enter(request)) is not None:
            request[ADDRESS] = address
        try:
            return await handler(request)
        finally:
            services.limits.leave(request.pop(ADDRESS, None))  # unless a stream has taken it

    return limit
