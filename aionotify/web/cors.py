"""Cross-origin requests (Fetch Standard section 3.2), for configured origins only.

A browser tells the page no more than that something failed. So what is refused is logged here, with
the setting that would allow it.
"""

import logging
from typing import Final

from aiohttp import hdrs, web

from aionotify.auth.credentials import is_trusted_origin
from aionotify.config import CorsConfig
from aionotify.errors import Forbidden
from aionotify.telemetry.sampled import Sampled
from aionotify.telemetry.stats import Stats
from aionotify.web.request_id import HEADER

_ALLOWED_HEADERS: Final = (
    *("Authorization", "Content-Type", "Last-Event-ID", "Cache-Control", HEADER),
    *("traceparent", "tracestate"),  # W3C Trace Context
)
_EXPOSED_HEADERS: Final = f"{hdrs.RETRY_AFTER}, {HEADER}"
_MAX_AGE: Final = "7200"  # seconds; the longest that Chromium keeps a preflight
_SHOWN: Final = 256  # characters in a log of what anybody can send

_log = logging.getLogger(__name__)


class Cors:
    """Says what pages of other origins may do, and counts and logs what they may not."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._sampled = Sampled(_log)

    def headers(self, request: web.Request, config: CorsConfig) -> dict[str, str]:
        """Return the headers that let a page of an allowed origin read any answer, also errors."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin in config.origins:
            return {
                hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
                hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS: "true",
                hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: _EXPOSED_HEADERS,
                hdrs.VARY: hdrs.ORIGIN,
            }
        if origin is not None and not is_trusted_origin(request, ()):
            self._stats.origins_refused += 1
            fields = {"origin": origin[:_SHOWN], "path": request.path, "setting": "cors.origins"}
            self._sampled.warning("origin refused", fields)
        return {hdrs.VARY: hdrs.ORIGIN} if config.origins else {}

    def preflight_headers(
        self, request: web.Request, config: CorsConfig, methods: str
    ) -> dict[str, str]:
        """Return the headers of the answer to a preflight, which carries no credentials.

        Raises Forbidden: the origin is not allowed.
        """
        if request.headers.get(hdrs.ORIGIN) not in config.origins:
            raise Forbidden("pages of this origin are not allowed")
        allowed = (*_ALLOWED_HEADERS, *config.headers)
        known = {name.lower() for name in allowed}
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")[:_SHOWN].lower()
        refused = [name for name in (each.strip() for each in asked.split(",")) if name]
        if refused := [name for name in refused if name not in known]:
            fields = {"headers": " ".join(refused), "path": request.path, "setting": "cors.headers"}
            self._sampled.warning("request header refused", fields)
        return {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: methods,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(allowed),
            hdrs.ACCESS_CONTROL_MAX_AGE: _MAX_AGE,
        }
