"""The routes: which handler answers which path."""

from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aionotify.auth.middleware import authentication
from aionotify.web import (
    admin_page,
    client_module,
    groups,
    health,
    inbox,
    metrics,
    notify,
    presence,
    publish_lines,
    recall,
    revocation,
)
from aionotify.web.errors import error_response
from aionotify.web.middlewares import answering, around, limiting
from aionotify.web.services import Services


def public_routes(services: Services, *, answered: bool, admin: bool) -> list[web.RouteDef]:
    """Return the routes for browsers and load balancers.

    Args:
        admin: whether the routes for the application's services are on the same address.
        answered: whether the application has the middleware `answering`. In an embedding
            application, only our routes have it.
    """
    limited, signed_in = limiting(services), authentication(services.authenticator)
    module = client_module.handler()
    own_list = around(inbox.inbox, limited, signed_in)

    async def either_list(request: web.Request) -> web.StreamResponse:
        return await (inbox.inbox_of if "recipient_id" in request.query else own_list)(request)

    return [
        *_resource(
            services,
            answered,
            "/notify",
            {
                "GET": around(notify.notify, notify.unless_closed, limited, signed_in),
                "HEAD": around(notify.notify_head, limited, signed_in),
            },
        ),
        *_resource(services, answered, "/notify/ticket", {"POST": around(notify.ticket, limited)}),
        *_resource(services, answered, "/notify/client.js", {"GET": module}),
        *_resource(services, answered, "/notify/client.{hash}.js", {"GET": module}),
        *_resource(services, answered, "/inbox", {"GET": either_list if admin else own_list}),
        *_resource(
            services, answered, "/inbox/read", {"PUT": around(inbox.read, limited, signed_in)}
        ),
        *health_routes(services, answered=answered),
    ]


def inbox_routes(services: Services, *, answered: bool) -> list[web.RouteDef]:
    """Return the routes of inboxes for an address that is for the application's services only."""
    return _resource(services, answered, "/inbox", {"GET": inbox.inbox_of})


def health_routes(services: Services, *, answered: bool) -> list[web.RouteDef]:
    """Return the routes for load balancers and supervisors, which each address has."""
    return [
        *_resource(services, answered, "/healthz", {"GET": health.healthz}),
        *_resource(services, answered, "/readyz", {"GET": health.readyz}),
    ]


def admin_routes(services: Services, *, answered: bool) -> list[web.RouteDef]:
    """Return the routes for the application's services; on a separate address if configured."""
    return [
        *_resource(services, answered, "/publish", {"POST": publish_lines.publish_either}),
        *_resource(services, answered, "/inbox/{event_id}", {"DELETE": recall.recall}),
        *_resource(services, answered, "/presence", {"GET": presence.presence}),
        # The pattern allows any user id; without it aiohttp allows no braces.
        *_resource(
            services, answered, "/streams/{user_id:[^/]+}", {"DELETE": revocation.close_streams}
        ),
        *_resource(
            services,
            answered,
            "/groups/{group:[^/]+}/members/{user_id:[^/]+}",
            {"PUT": groups.put_member, "DELETE": groups.remove_member},
        ),
        *_resource(services, answered, "/groups/{group:[^/]+}/members", {"GET": groups.members}),
        *_resource(services, answered, "/metrics", {"GET": metrics.metrics}),
    ]


def page_routes(services: Services, *, answered: bool) -> list[web.RouteDef]:
    """Return the routes of the operator's page; see `admin_page`."""
    resource = partial(_resource, services, answered, cross_origin=False)
    return [
        *resource("/admin", {"GET": admin_page.file_handler("admin.html")}),
        *resource("/admin/nodes", {"GET": admin_page.nodes}),
        *resource("/admin/users", {"GET": admin_page.users}),
        *resource("/admin/inbox", {"GET": admin_page.inbox}),
        *resource("/admin/streams", {"GET": admin_page.streams, "DELETE": admin_page.end_streams}),
        *(
            route
            for name in ("admin.js", "admin.css", "bell.svg")
            for route in resource(f"/admin/{name}", {"GET": admin_page.file_handler(name)})
        ),
    ]


def _resource(
    services: Services,
    answered: bool,
    path: str,
    handlers: dict[str, Handler],
    *,
    cross_origin: bool = True,
) -> list[web.RouteDef]:
    """Return the routes of one path; if `cross_origin`, pages of ``cors.origins`` may use them.

    Otherwise no preflight is answered, so no foreign page can send an Authorization header there.
    """
    answer = () if answered else (answering(services),)
    methods = ", ".join(handlers)
    allowed = set(handlers) | ({"HEAD"} if "GET" in handlers else set())
    if cross_origin:
        allowed.add("OPTIONS")

    async def preflight(request: web.Request) -> web.Response:
        config = services.terms.config.cors
        headers = services.cors.preflight_headers(request, config, methods)
        return web.Response(status=204, headers=headers)

    async def refuse(request: web.Request) -> web.Response:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    routes = []
    preflights = {"OPTIONS": preflight} if cross_origin else {}
    for method, handler in {**handlers, **preflights, "*": refuse}.items():
        # aiohttp would let GET's handler answer HEAD too, and open a stream for it.
        own_head = {"allow_head": False} if method == "GET" and "HEAD" in handlers else {}
        answered_handler = around(handler, *answer)
        routes.append(web.route(method, path, answered_handler, expect_handler=expect, **own_head))
    return routes


async def expect(request: web.Request) -> web.Response | None:
    """Say 100 to a client that waits for it before it sends a body (RFC 9110 section 10.1.1).

    As aiohttp does by default, but its refusal of another expectation quotes that, and fails where
    it is no text.
    """
    if request.version < (1, 1):
        return None
    if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
        return error_response(417, "expectation_failed", "only 100-continue can be expected")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # what comes next is the answer
    return None
