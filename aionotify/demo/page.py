"""The shop's page and its files.

The page contains a key, made for this run, with which one may publish and end the server. That is
safe as long as no other site can read the page: the shop listens on loopback only, sends no CORS
headers, and `local_only` refuses requests for any host name but its own, so a site whose name
suddenly resolves to 127.0.0.1 (DNS rebinding) gets nothing. A form or an image of another site can
send requests here, but not with the key in a header (CSRF).

The notification server is one as in production: it answers under any name. Whoever knows the users'
tokens, which are no secret, can read this demo's events there, and do nothing else.
"""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_FILES: Final = {
    "bell.svg": "image/svg+xml",
    "demo.css": "text/css",
    "demo.js": "text/javascript",
}
_HEADERS: Final = {
    "Cache-Control": "no-store",  # the next run has a new key
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes(settings: Mapping[str, object], users: Iterable[str], server: str) -> list[web.RouteDef]:
    """Return the routes of the page, with all users, with one, and of its files.

    Args:
        settings: for the page's script.
        users: each has a page of their own, at ``/<user>``.
        server: the notification server's address, from where the page has module and streams.
    """
    static = resources.files("aionotify.web") / "static"
    # In a <script>, only "<" can end the JSON.
    embedded = json.dumps(settings).replace("<", "\\u003c")
    page = static.joinpath("demo.html").read_text("utf-8").replace("{{settings}}", embedded)
    files = {name: static.joinpath(name).read_text("utf-8") for name in _FILES}
    headers = {**_HEADERS, "Content-Security-Policy": _policy(server)}

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in files:
            raise web.HTTPNotFound
        return web.Response(text=files[name], content_type=_FILES[name], headers=headers)

    pages = [web.get(f"/{user}", index) for user in ("", *users)]
    return [*pages, web.get("/static/{name}", file)]


def _policy(server: str) -> str:
    return (
        f"default-src 'none'; script-src 'self' {server}; connect-src 'self' {server};"
        " style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


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
