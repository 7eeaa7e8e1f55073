"""Where a request carries its token: the Authorization header or, when configured, a cookie.

Knows HTTP and nothing of what a token means.
"""

import re
from collections.abc import Collection

from aiohttp import hdrs, web

from aionotify.errors import CredentialsMissing, InvalidScheme

MAX_TOKEN = 4096  # characters; a JWT with many claims has about 2,000

_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # b64token, RFC 6750 section 2.1
_BEARER = re.compile(rf"bearer +({_TOKEN.pattern})", re.IGNORECASE | re.ASCII)


def bearer_token(
    request: web.BaseRequest, cookie: str | None = None, allowed_origins: Collection[str] = ()
) -> str:
    """Return the token of `request`: 1 to 4096 characters of RFC 6750's `b64token`.

    The Authorization header decides when there is one. Otherwise the cookie named `cookie` does,
    but only for a request from our own origin or one of `allowed_origins`: a browser attaches
    cookies to requests that any page makes.

    Raises CredentialsMissing when there is no token, InvalidScheme when what is there is not one
    bearer token (two headers or cookies, another scheme, other characters, too long).
    """
    headers = request.headers.getall(hdrs.AUTHORIZATION, ())
    if len(headers) > 1:
        raise InvalidScheme("more than one Authorization header")
    if headers:
        match = _BEARER.fullmatch(headers[0])
        if match is None:
            raise InvalidScheme("the Authorization header is not a bearer token")
        return _bounded(match[1])
    value = _cookie(request, cookie) if cookie is not None else None
    if not value:
        raise CredentialsMissing("no token in the request")
    if not is_trusted_origin(request, allowed_origins):
        raise CredentialsMissing("a cookie does not count in a request from another origin")
    if _TOKEN.fullmatch(value) is None:
        raise InvalidScheme("the cookie is not a bearer token")
    return _bounded(value)


def _cookie(request: web.BaseRequest, name: str) -> str | None:
    """The value of a cookie. Of two that differ nobody knows which one others have looked at."""
    given = [
        value.strip()
        for header in request.headers.getall(hdrs.COOKIE, ())
        for pair in header.split(";")
        for key, _, value in [pair.partition("=")]
        if key.strip() == name
    ]
    if len(set(given)) > 1:
        raise InvalidScheme("more than one cookie of that name")
    return request.cookies.get(name)


def _bounded(token: str) -> str:
    if len(token) > MAX_TOKEN:
        raise InvalidScheme(f"the token is longer than {MAX_TOKEN} characters")
    return token


def is_trusted_origin(request: web.BaseRequest, allowed: Collection[str]) -> bool:
    """Whether the page behind `request` may act with the user's cookie.

    Scripts can set neither Origin nor Sec-Fetch-Site (Fetch Standard, forbidden request-header).
    """
    origins = request.headers.getall(hdrs.ORIGIN, ())
    if len(origins) > 1:
        return False
    origin = origins[0] if origins else None
    if origin is not None and origin in allowed:
        return True
    # The browser's own word comes before ours: it also holds behind a proxy that rewrites Host,
    # and covers requests without Origin (<img>, <script>) that other sites can make.
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin" or (site == "none" and origin is None)
    if origin is None:
        return True
    _, separator, authority = origin.partition("://")
    return bool(separator) and authority.lower() == request.headers.get(hdrs.HOST, "").lower()
