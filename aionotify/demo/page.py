"""What the demo adds to the server: its page, and a way for the page to PUBLISH.

The page holds a publish key, made for this run. It gets it as a part of itself, which is safe
for as long as no other site can read the page: the server listens on loopback only, sends no CORS
headers, and `local_only` refuses a request by any name but its own, so that a site whose name
begins to mean 127.0.0.1 (DNS rebinding) gets nothing. A form or an image of another site can
have requests sent here, but none with the key in a header (CSRF).
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from redis.asyncio import Redis
from yarl import URL

from aionotify.broker.connection.endpoint import translated
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
    "Cache-Control": "no-store",  # the next run has another key
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(settings: Mapping[str, object], redis: Redis) -> list[web.RouteDef]:
    """Return the routes of the page.

    Args:
        settings: what the page's script has to know.
        redis: where the page's ephemeral events go.
    """
    static = resources.files("aionotify.web") / "static"
    # Within <script> nothing but "<" can end the JSON.
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
        """PUBLISH the body, as any program next to Redis could; a page cannot."""
        key_holder(request)
        config = request.config_dict[SERVICES].terms.config
        event = await request.read()
        decode(event, config.events.max_bytes)
        with translated():
            nodes = await redis.publish(config.redis.channel, event)
        return json_response({"nodes": nodes}, 202)

    return [
        web.get("/", index),
        web.get("/static/{name}", file),
        web.post("/demo/ephemeral", ephemeral),
    ]


@web.middleware
async def local_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in only requests to this machine by one of its own names."""
    try:
        host = URL(f"http://{request.host}").host
    except ValueError:
        host = None
    if host not in _HOSTS:
        text = "The demo answers at http://127.0.0.1 and http://localhost only.\n"
        return web.Response(status=421, text=text)  # RFC 9110 section 15.5.20
    return await handler(request)
