"""GET /notify/client.js: the module for browsers, as it belongs to this version of the server.

No secret is in it and nothing in it depends on who asks, so any page of any origin may have it.
"""

import gzip
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from typing import Final

from aiohttp import ETag, hdrs, web
from aiohttp.typedefs import Handler

_HASH_CHARS: Final = 16  # 64 bits: nobody has to be kept from making two of one hash
_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",  # a module of another origin is loaded with CORS only
    "Cross-Origin-Resource-Policy": "cross-origin",  # and by pages that are isolated with this
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
_REVALIDATED: Final = "no-cache"  # kept, and used when the answer to If-None-Match is 304
_IMMUTABLE: Final = "public, max-age=31536000, immutable"  # a year (RFC 9111, RFC 8246)


def handler() -> Handler:
    """The handler for the module's path, and for the one with a ``hash`` in it.

    Under its hash it may be kept for ever. Another hash is that of another version, named by a page
    that was made before a deploy or is ahead of it: it gets this one, and keeps it for no time.
    """
    plain = resources.files("aionotify.web").joinpath("static/aionotify.js").read_bytes()
    packed = gzip.compress(plain, mtime=0)
    hash = sha256(plain).hexdigest()[:_HASH_CHARS]
    # Weak: the same module, packed or not (RFC 9110 section 8.8.1).
    etag = ETag(hash, is_weak=True)
    headers: Mapping[str, str] = {
        **_HEADERS,
        hdrs.CONTENT_LOCATION: f"client.{hash}.js",
        hdrs.CONTENT_TYPE: "text/javascript; charset=utf-8",
    }

    async def client_module(request: web.Request) -> web.Response:
        if any(tag.value in (hash, "*") for tag in request.if_none_match or ()):
            response = web.Response(status=304, headers=headers)
        elif "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            response = web.Response(body=packed, headers=headers)
            response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        else:
            response = web.Response(body=plain, headers=headers)
        is_known = request.match_info.get("hash") == hash
        response.headers[hdrs.CACHE_CONTROL] = _IMMUTABLE if is_known else _REVALIDATED
        response.etag = etag
        return response

    return client_module
