"""Request ids, which link the logs of a client, a proxy and aionotify."""

import random
import re
from typing import Final

from aiohttp import web

HEADER: Final = "X-Request-ID"
_SANE: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}", re.ASCII)  # safe in any log line
_ID: Final = web.RequestKey("aionotify.request_id", str)


def request_id(request: web.Request) -> str:
    """Return the id that the request came with, if it is valid, else a new one."""
    try:
        return request[_ID]
    except KeyError:
        id = request.headers.get(HEADER)
        if id is None or not _SANE.fullmatch(id):
            id = f"{random.getrandbits(64):016x}"
        request[_ID] = id
        return id
