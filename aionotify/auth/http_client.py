"""How we ask somebody else over HTTP: bounded in time and size, and giving nothing away.

Knows why there was no answer, and what each reason is called; not what an answer means.
"""

import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import aiohttp
from aiohttp import AddrInfoType, hdrs
from aiohttp.http_exceptions import LineTooLong

T = TypeVar("T")

MAX_BODY = 65536  # bytes
MAX_LINE: Final = 65536  # bytes of a header; curl takes 100,000, browsers 256,000, aiohttp 8,190

_SHORTEST: Final = 0.001  # seconds; 0 would be no limit
_NO_TLS: Final = frozenset(  # OpenSSL's reasons when what it reads is no TLS; versions differ
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
_TLS_ALERT: Final = r"b'\x15\x03"  # how a TLS record begins that says no (RFC 8446 section 5.1)


class NoAnswer(Exception):
    """There was no answer, for the reason that the text gives: an operator's words, no secrets."""


class TooLate(NoAnswer):
    """There was none in time."""


class Garbled(NoAnswer):
    """What came is not HTTP, or not all of it."""


class HttpClient:
    """Asks over connections that it keeps open, at most `connections` of them.

    `timeout` in seconds is for a whole exchange, body included. No cookie is kept, and no proxy or
    netrc is read from the environment. `socket_factory` makes each socket, for the address that
    aiohttp hands it; an OSError of it is why there is no connection.
    """

    def __init__(
        self,
        timeout: float,
        connections: int,
        socket_factory: Callable[[AddrInfoType], socket.socket] | None = None,
    ) -> None:
        self._timeout, self._connections = timeout, connections
        self._socket_factory = socket_factory
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def get(
        self,
        url: str,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        """Send a GET, follow no redirect, and return what `read` makes of the response.

        Raises NoAnswer, and what `read` raises.
        """
        return await self._ask(hdrs.METH_GET, url, None, read, headers)

    async def post(
        self,
        url: str,
        body: bytes,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> T:
        """The same with a POST. What was sent may have been acted on though there is no answer."""
        return await self._ask(hdrs.METH_POST, url, body, read, headers)

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        headers: Mapping[str, str],
    ) -> T:
        if self._kept is None:  # here, because it must be made inside the running loop
            self._kept = self._session(kept=True)
        ends = time.monotonic() + self._timeout
        try:
            try:
                return await _ask(self._kept, method, url, body, read, headers, self._timeout)
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # Each of the connections that are kept may just have been closed.
                if self._fresh is None:
                    self._fresh = self._session(kept=False)
                left = max(ends - time.monotonic(), _SHORTEST)
                return await _ask(self._fresh, method, url, body, read, headers, left)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise _no_answer(error) from error

    async def close(self) -> None:
        """Close the connections."""
        for session in (self._kept, self._fresh):
            if session is not None:
                await session.close()

    def _session(self, *, kept: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                force_close=not kept,
                socket_factory=self._socket_factory,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A compressed answer could be a thousand times larger than what we count: we ask for
            # none and do not unpack one.
            auto_decompress=False,
            headers={
                hdrs.ACCEPT: "application/json",
                hdrs.ACCEPT_ENCODING: "identity",
                hdrs.USER_AGENT: "aionotify",
            },
            trust_env=False,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
        )


async def read_body(response: aiohttp.ClientResponse, limit: int = MAX_BODY) -> bytes | None:
    """Return the body of `response`, or None as soon as it exceeds `limit` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


async def _ask(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: bytes | None,
    read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
    headers: Mapping[str, str],
    seconds: float,
) -> T:
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with session.request(
        method, url, data=body, headers=headers, allow_redirects=False, timeout=timeout
    ) as response:
        return await read(response)


def _no_answer(error: Exception) -> NoAnswer:
    """Say why: in the kernel's, the resolver's or OpenSSL's own words where they have any."""
    match error:
        case TimeoutError():
            return TooLate("it did not answer in time")
        case aiohttp.ClientResponseError():
            return Garbled(_why_not_http(error))
        case aiohttp.ClientPayloadError():
            return Garbled("its answer is not HTTP, or ends too early")
        case aiohttp.ServerDisconnectedError():
            return NoAnswer("it closed the connection without an answer")
        case aiohttp.ClientConnectorError(os_error=reason):
            return NoAnswer(_why_not_connected(reason))
        case aiohttp.ClientConnectorCertificateError(certificate_error=reason):
            return NoAnswer(_why_not_connected(reason))
        case OSError():
            return NoAnswer(_why_not_connected(error))
        case UnicodeError():
            return NoAnswer("its name cannot be the name of a host")
    return NoAnswer(type(error).__name__)


def _why_not_connected(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return f"its name does not resolve: {error.strerror}"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
        case ssl.SSLError(reason=str(reason)):
            start = "it speaks no TLS on that port" if reason in _NO_TLS else "TLS failed"
            return f"{start}: {reason.lower().replace('_', ' ')}"
        case OSError(errno=int(number)):
            return os.strerror(number)
    return str(error)


def _why_not_http(error: aiohttp.ClientResponseError) -> str:
    if any(isinstance(each, LineTooLong) for each in _causes(error)):
        return f"a header of its answer is longer than {MAX_LINE} bytes"
    if _TLS_ALERT in error.message:
        return "it speaks TLS on that port, and was asked without"
    return "its answer is not HTTP"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
