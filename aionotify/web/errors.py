"""Error answers: JSON, always of the same shape.

``{"error": {"code": "invalid_token", "message": "…", "fields": {…}}}``
"""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from http.client import responses
from typing import Final

import msgspec
from aiohttp import hdrs, web

from aionotify.errors import BrokerError, InvalidEvent, RequestError

_log = logging.getLogger(__name__)

_LINES: Final = msgspec.json.Encoder()
_TOO_LARGE = {413: "too_large"}  # the standard changed its phrase twice


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON answer."""
    return web.Response(
        body=msgspec.json.encode(value),
        status=status,
        headers=headers,
        content_type="application/json",
    )


def json_lines(values: Iterable[object]) -> bytes:
    """Return values in NDJSON."""
    return _LINES.encode_lines(values)


def error_response(
    status: int,
    code: str,
    message: str,
    *,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> web.Response:
    """Return an error answer; `more` are members beside code, message and fields."""
    error: dict[str, object] = {"code": code, "message": message, **more}
    if fields:
        error["fields"] = fields
    return json_response({"error": error}, status, headers)


def describe(error: Exception, request_id: str) -> tuple[str, web.Response]:
    """Return the code of `error` and the answer to the request that raised it."""
    match error:
        case RequestError():
            headers: dict[str, str] = {}
            if error.retry_after is not None:
                headers[hdrs.RETRY_AFTER] = str(max(1, round(error.retry_after)))
            if error.challenge:
                headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
            if error.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
                headers[hdrs.ACCEPT_ENCODING] = "identity"  # what there may be instead
            code, status, message = error.code, error.status, error.message
            return code, error_response(status, code, message, headers=headers)
        case InvalidEvent():
            code, message = "invalid_event", "the event is not valid"
            return code, error_response(400, code, message, fields=error.fields)
        case BrokerError():
            code, message = "redis_unavailable", "the event store is not available"
            return code, error_response(503, code, message, headers={hdrs.RETRY_AFTER: "1"})
        case web.HTTPException():
            phrase = responses.get(error.status, "error").lower().replace(" ", "_")
            code = _TOO_LARGE.get(error.status, phrase)
            kept = {str(hdrs.ALLOW): value for value in error.headers.getall(hdrs.ALLOW, ())}
            return code, error_response(error.status, code, error.reason.lower(), headers=kept)
    # A bug. The log has the traceback; the client gets none of it.
    _log.error("request failed", exc_info=error, extra={"fields": {"request": request_id}})
    code = "internal_error"
    return code, error_response(500, code, "internal error")
