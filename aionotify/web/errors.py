"""Error answers: JSON, always of the same shape, with CORS headers too.

``{"error": {"code": "invalid_token", "message": "…", "fields": {…}}}``
"""

import logging
from collections.abc import Mapping

import msgspec
from aiohttp import hdrs, web

from aionotify.errors import BrokerError, InvalidEvent, RequestError
from aionotify.stats import Stats

_log = logging.getLogger("aionotify.web")

_CODES: Mapping[int, str] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
}


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer of JSON."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> web.Response:
    """An error answer; `more` are members beside code, message and fields."""
    error: dict[str, object] = {"code": code, "message": message, **more}
    if fields:
        error["fields"] = fields
    return json_response({"error": error}, status, headers)


def describe(error: Exception, stats: Stats) -> web.Response | None:
    """The answer to a request that ended in `error`, or None when that is not ours to say."""
    match error:
        case RequestError():
            stats.refused[error.code] += 1
            headers: dict[str, str] = {}
            if error.retry_after is not None:
                headers[hdrs.RETRY_AFTER] = str(max(1, round(error.retry_after)))
            if error.challenge:
                headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
            return error_response(error.status, error.code, error.message, headers=headers)
        case InvalidEvent():
            return error_response(
                400, "invalid_event", "the event is not valid", fields=error.fields
            )
        case BrokerError():
            return error_response(
                503,
                "redis_unavailable",
                "the event store cannot be used now",
                headers={hdrs.RETRY_AFTER: "1"},
            )
        case web.HTTPException() if error.status >= 400:
            code = _CODES.get(error.status, "error")
            kept: dict[str, str] | None = (
                {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
            )
            return error_response(error.status, code, error.reason.lower(), headers=kept)
    return None


def unexpected(error: Exception) -> web.Response:
    """The answer to a failure of our own. The log has the traceback, the client nothing of it."""
    _log.error("request failed", exc_info=error)
    return error_response(500, "internal_error", "something went wrong here")
