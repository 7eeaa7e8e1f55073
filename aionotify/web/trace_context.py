"""Trace context, which links the traces of producers to our log (W3C Trace Context)."""

import re
from typing import Final

from aiohttp import web

# Version, trace, parent, flags: in lower case, the first not ff, the next two not all zeros
# (section 3.2.2). Versions after 00 may append to that, after a dash (section 3.2.4).
_TRACEPARENT: Final = re.compile(
    r"((?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?"
)


def traceparent(request: web.BaseRequest) -> str | None:
    """Return the trace parent of `request`, without what later versions append to it.

    None if there is none, or one that is not valid.
    """
    given = request.headers.getall("traceparent", ())
    match = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    if match is None or (match[2] and match[1].startswith("00")):
        return None
    return match[1]
