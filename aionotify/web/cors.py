"""Cross-origin requests (Fetch Standard section 3.2), for configured origins only."""

from collections.abc import Collection

from aiohttp import hdrs, web

from aionotify.web.request_id import HEADER

_ALLOWED_HEADERS = "Authorization, Content-Type, Last-Event-ID, Cache-Control"
_EXPOSED_HEADERS = f"{hdrs.RETRY_AFTER}, {HEADER}"
_MAX_AGE = "7200"  # seconds; the longest that Chromium keeps a preflight


def cors_headers(request: web.Request, origins: Collection[str]) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read any answer, also errors."""
    if not origins:
        return {}
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or origin not in origins:
        return {hdrs.VARY: hdrs.ORIGIN}
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
        hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS: "true",
        hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED_HEADERS,
        hdrs.VARY: hdrs.ORIGIN,
    }


def preflight_headers(methods: str) -> dict[str, str]:
    """Return the headers of the answer to a preflight, which carries no credentials."""
    return {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ALLOWED_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: _MAX_AGE,
    }
