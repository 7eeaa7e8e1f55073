"""An id for each request, so that what a client, a proxy and our log say can be put together."""

import random
import re
from typing import Final

from aiohttp import web

HEADER: Final = "X-Request-ID"
_SANE: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}", re.ASCII)  # fits into any log line as it is
_ID: Final = web.RequestKey("aionotify.request_id", str)


def request_id(request: web.Request) -> str:
    """The id that whoever is before us has given the request, if that is sane; else one of ours."""
    try:
        return request[_ID]
    except KeyError:
        id = request.headers.get(HEADER)
        if id is None or not _SANE.fullmatch(id):
            id = f"{random.getrandbits(64):016x}"
        request[_ID] = id
        return id
