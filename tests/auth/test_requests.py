"""Requests as bytes on a socket, through a server as it is run in production.

What reaches `bearer_token` has been through aiohttp's parser: here is what the two do together.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from aionotify.auth import AuthError
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.config import MainHostConfig
from tests.auth.stub_main_host import StubMainHost

Send = Callable[[bytes], Awaitable[int]]


@pytest.fixture
async def send(host: StubMainHost) -> AsyncIterator[Send]:
    """Sends header lines to a server that asks `host`, and returns the status."""
    host.users = {"good": "alice", "cookie": "alice"}
    authenticator = MainHostAuthenticator(MainHostConfig(url=host.url), cookie="session")

    async def notify(request: web.Request) -> web.Response:
        try:
            identity = await authenticator.authenticate(request)
        except AuthError as error:
            return web.Response(status=error.status, text=error.code)
        return web.Response(text=identity.user_id)

    app = web.Application()
    app.router.add_get("/notify", notify)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = runner.addresses[0]

    async def send(lines: bytes) -> int:
        reader, writer = await asyncio.open_connection(*address[:2])
        writer.write(b"GET /notify HTTP/1.1\r\nHost: push.example.com\r\n" + lines + b"\r\n\r\n")
        status = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()
        return int(status.split()[1])

    yield send
    await runner.cleanup()
    await authenticator.close()


@pytest.mark.parametrize(
    "lines",
    [
        b"Authorization: Bearer good",
        b"authorization:bearer good",
        b"AUTHORIZATION:   BEARER   good   ",
        b"Cookie: session=cookie",
        b"Cookie: a=b; session=cookie\r\nOrigin: https://push.example.com",
    ],
)
async def test_a_token_gets_in(send: Send, lines: bytes) -> None:
    assert await send(lines) == 200


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(b"Authorization: Bearer good\r\nAuthorization: Bearer good", id="twice"),
        pytest.param(b"Authorization: Bearer good\r\nAUTHORIZATION: Basic x", id="two schemes"),
        pytest.param(b"Authorization: Bearer good\r\nAuthorization:", id="second empty"),
        pytest.param(b"Authorization: Bearer\r\n good", id="obs-fold"),
        pytest.param(b"Authorization: Bearer good\r\n more", id="obs-fold behind"),
        pytest.param(b"X: a\r\n Authorization: Bearer good", id="folded away"),
        pytest.param(b"X: a\r\n\tAuthorization: Bearer good", id="folded away by a tab"),
        pytest.param(b"Authorization : Bearer good", id="space before the colon"),
        pytest.param(b" Authorization: Bearer good", id="space before the name"),
        pytest.param(b"Authorization\0: Bearer good", id="NUL in the name"),
        pytest.param(b"Authorization: Bearer go\0od", id="NUL"),
        pytest.param(b"X: a\rAuthorization: Bearer good", id="bare CR"),
        pytest.param(b"Authorization: Bearer go\x0bod", id="control character"),
        pytest.param(b"Authorization: Bearer go\x7fod", id="DEL"),
        pytest.param(b"Authorization: Bearer good\xc3\xbc", id="UTF-8"),
        pytest.param(b"Authorization: Bearer good\xfc", id="Latin-1"),
        pytest.param("Authorization: Bearer goo\uff44".encode(), id="full-width letter"),
        pytest.param(b"Authorization: Bearer good good", id="two tokens"),
        pytest.param(b"Authorization: Bearer good,Bearer good", id="joined"),
        pytest.param(b"Authorization: Bearer " + b"a" * 4097, id="long token"),
        pytest.param(b"Authorization: Bearer " + b"a" * 9000, id="long line"),
        pytest.param(b"Proxy-Authorization: Bearer good", id="for a proxy"),
        pytest.param(b"Authorization_: Bearer good", id="similar name"),
        pytest.param(b"X-Authorization: Bearer good", id="other name"),
        pytest.param(b"Cookie: session=cookie\r\nOrigin: https://evil.example", id="Origin"),
        pytest.param(
            b"Cookie: session=cookie\r\nOrigin: https://push.example.com\r\n"
            b"Origin: https://evil.example",
            id="two Origins",
        ),
        pytest.param(b"Cookie: session=cookie\r\nSec-Fetch-Site: cross-site", id="no Origin"),
        pytest.param(b"Cookie: session=co\0okie", id="NUL in the cookie"),
    ],
)
async def test_anything_else_is_refused_before_the_main_host_is_asked(
    send: Send, host: StubMainHost, lines: bytes
) -> None:
    assert await send(lines) in (400, 403)
    assert not host.asked
