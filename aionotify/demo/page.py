"""The demo's additions to the server: its page, and a route with which the page can PUBLISH.

The page contains a publish key, made for this run. That is safe as long as no other site can read
the
page: the server listens on loopback only, sends no CORS headers, and `local_only` refuses requests
for any host name but its own, so a site whose name suddenly resolves to 127.0.0.1 (DNS rebinding)
gets nothing. A form or an image of another site can send requests here, but not with the key in a
header (CSRF).
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from aionotify.broker.connection.endpoint import replies
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.keys import Keys
from aionotify.events.event import decode
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES

_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_FILES: Final = {
    "bell.svg": "image/svg+xml",
    "demo.css": "text/css",
    "demo.js": "text/javascript",
}
_HEADERS: Final = {
    "Cache-Control": "no-store",  # the next run has a new key
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(settings: Mapping[str, object], execute: Execute) -> list[web.RouteDef]:
    """Return the routes of the page.

    Args:
        settings: for the page's script.
        execute: carries out commands: the page's ephemeral events are published with it.
    """
    static = resources.files("aionotify.web") / "static"
    # In a <script>, only "<" can end the JSON.
    embedded = json.dumps(settings).replace("<", "\\u003c")
    page = static.joinpath("index.html").read_text("utf-8").replace("{{settings}}", embedded)
    files = {name: static.joinpath(name).read_text("utf-8") for name in _FILES}

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=_HEADERS)

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound
        return web.Response(text=files[name], content_type=_FILES[name], headers=_HEADERS)

    async def ephemeral(request: web.Request) -> web.Response:
        """PUBLISH the body, which a page cannot do itself."""
        key_holder(request, "publish")
        config = request.config_dict[SERVICES].terms.config
        event = await request.read()
        decode(event, config.events.max_bytes)
        [nodes] = await replies(execute, ("PUBLISH", Keys.of(config.redis).ephemeral, event))
        return json_response({"nodes": nodes}, 202)

    return [
        web.get("/", index),
        web.get("/static/{name}", file),
        web.post("/demo/ephemeral", ephemeral),
    ]


@web.middleware
async def local_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Accept only requests to this machine by one of its own names."""
    try:
        host = URL(f"http://{request.host}").host
    except ValueError:
        host = None
    if host not in _HOSTS:
        text = "This server answers at http://127.0.0.1 and http://localhost only.\n"
        return web.Response(status=421, text=text)  # RFC 9110 section 15.5.20
    return await handler(request)
