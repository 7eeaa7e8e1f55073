"""How we ask somebody else over HTTP: bounded in time and size, and giving nothing away."""

import aiohttp
from aiohttp import hdrs

MAX_BODY = 65536  # bytes


def open_session(timeout: float, connections: int) -> aiohttp.ClientSession:
    """Return a session that keeps no cookies and reads no proxy or netrc from the environment.

    `timeout` in seconds is for a whole exchange, body included.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout),
        # A compressed answer could be a thousand times larger than what we count: we ask for none
        # and do not unpack one.
        auto_decompress=False,
        headers={
            hdrs.ACCEPT: "application/json",
            hdrs.ACCEPT_ENCODING: "identity",
            hdrs.USER_AGENT: "aionotify",
        },
        trust_env=False,
    )


async def read_body(response: aiohttp.ClientResponse, limit: int = MAX_BODY) -> bytes | None:
    """Return the body of `response`, or None as soon as it exceeds `limit` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
