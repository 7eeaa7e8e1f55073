"""A main host that answers, but not with what was agreed.

Nobody gets in, nothing is kept as a refusal, and nothing takes longer or more memory than agreed.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from aionotify.auth import AuthError, AuthFailed, AuthUnavailable, Identity, InvalidToken
from aionotify.auth.http_client import MAX_BODY
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.config import MainHostConfig
from tests.auth.helpers import bearer
from tests.auth.stub_main_host import Answer, StubMainHost

Asking = Callable[..., MainHostAuthenticator]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>Welcome</html>",
        "alice",
        '"alice"',
        "42",
        "null",
        "[]",
        '[{"user_id": "alice"}]',
        "{}",
        '{"user": "alice"}',
        '{"user_id": null}',
        '{"user_id": true}',
        '{"user_id": 1.5}',
        '{"user_id": ["alice"]}',
        '{"user_id": {"id": "alice"}}',
        '{"user_id": ""}',
        '{"user_id": "*"}',
        '{"user_id": "a\\nb"}',
        '{"user_id": "a\\u0000b"}',
        '{"user_id": "\\ud800"}',
        '{"user_id": "alice"',
        '{"user_id": "alice"} {"user_id": "bob"}',
        '{"user_id": "' + "x" * 257 + '"}',
        '{"user_id": 1' + "0" * 400 + "}",
        '{"user_id": "alice", "expires_in": "soon"}',
        '{"user_id": "alice", "expires_in": true}',
        '{"user_id": "alice", "expires_in": NaN}',
        '{"user_id": "alice", "expires_in": 1e999}',
        '{"user_id": "alice", "groups": "team:7"}',
        '{"user_id": "alice", "groups": {"team:7": true}}',
        '{"user_id": "alice", "groups": 7}',
        '{"user_id": "alice", "groups": false}',
        '{"user_id": "alice", "groups": [null]}',
        '{"user_id": "alice", "groups": ["team:7", "*"]}',
        '{"user_id": "alice", "groups": ["a\\u0000b"]}',
        '{"user_id": "alice", "groups": ["\\ud800"]}',
        '{"user_id": "alice", "groups": [["team:7"]]}',
        json.dumps({"user_id": "alice", "groups": list(range(101))}),
        json.dumps({"user_id": "alice", "groups": list(range(10_000))}),
        "[" * 60_000,
        b'{"user_id": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        gzip.compress(b'{"user_id": "alice"}'),
    ],
    ids=lambda body: repr(body)[:40],
)
async def test_an_answer_that_names_no_user_lets_nobody_in(
    asking: Asking, host: StubMainHost, body: str | bytes
) -> None:
    host.says(body)
    with pytest.raises(AuthFailed) as raised:
        await asking().authenticate(bearer("token"))
    assert raised.value.retry_after is not None


@pytest.mark.parametrize("expires_in", [0, -1, -0.5])
async def test_a_user_whose_token_ends_now_is_refused(
    asking: Asking, host: StubMainHost, expires_in: float
) -> None:
    host.says(json.dumps({"user_id": "alice", "expires_in": expires_in}))
    with pytest.raises(InvalidToken):
        await asking().authenticate(bearer("token"))


@pytest.mark.parametrize("expires_in", [1e300, 10**18])
async def test_an_end_beyond_all_clocks_is_just_far_away(
    asking: Asking, host: StubMainHost, expires_in: float
) -> None:
    host.says(json.dumps({"user_id": "alice", "expires_in": expires_in}))
    assert (await asking().authenticate(bearer("token"))).user_id == "alice"


@pytest.mark.parametrize("status", [200, 201, 299])
async def test_any_2xx_with_a_user_lets_them_in_whatever_its_content_type(
    asking: Asking, host: StubMainHost, status: int
) -> None:
    host.says('{"user_id": "alice", "more": 1}', status=status)
    assert await asking().authenticate(bearer("token")) == Identity("alice")


@pytest.mark.parametrize("status", [204, 300, 304, 400, 404, 405, 418, 429])
async def test_a_status_that_says_neither_yes_nor_no_lets_nobody_in(
    asking: Asking, host: StubMainHost, status: int
) -> None:
    host.says("" if status in (204, 304) else '{"user_id": "alice"}', status=status)
    with pytest.raises(AuthFailed):
        await asking().authenticate(bearer("token"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(
    asking: Asking, host: StubMainHost, status: int
) -> None:
    elsewhere = StubMainHost()
    elsewhere.says('{"user_id": "mallory"}')
    await elsewhere.start()
    for location in (elsewhere.url, "/login"):
        host.says("", status=status, headers={"Location": location})
        with pytest.raises(AuthFailed):
            await asking().authenticate(bearer("token"))
    assert not elsewhere.asked
    assert {request.path for request in host.asked} == {"/api/v1/is_user_auth/"}
    await elsewhere.stop()


async def test_ten_megabytes_are_not_read(asking: Asking, host: StubMainHost) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(160):
            await response.write(b" " * MAX_BODY)
            sent += MAX_BODY
        await response.write(b'{"user_id": "alice"}')
        return response

    host.answer = answer
    with pytest.raises(AuthFailed, match="too long"):
        await asking().authenticate(bearer("token"))
    assert sent < 160 * MAX_BODY


async def test_a_compressed_answer_is_not_unpacked(asking: Asking, host: StubMainHost) -> None:
    """We asked for none, and it could be a thousand times larger than it looks."""
    body = gzip.compress(b'{"user_id": "alice"}' + b" " * 10_000_000)
    assert len(body) < MAX_BODY
    host.says(body, headers={"Content-Encoding": "gzip"})
    with pytest.raises(AuthFailed, match="JSON"):
        await asking().authenticate(bearer("token"))
    assert host.asked[0].headers["Accept-Encoding"] == "identity"


async def test_a_proxy_in_the_environment_does_not_get_the_token(
    asking: Asking, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = StubMainHost()
    await elsewhere.start()
    monkeypatch.setenv("http_proxy", elsewhere.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    host.users = {"token": "alice"}
    assert await asking().authenticate(bearer("token")) == Identity("alice")
    assert not elsewhere.asked
    await elsewhere.stop()


async def test_a_body_that_never_ends_costs_no_more_than_the_timeout(
    asking: Asking, host: StubMainHost
) -> None:
    host.answer = _endless(200)
    with pytest.raises(AuthUnavailable, match="in time"):
        await asking(timeout=0.1).authenticate(bearer("token"))


async def test_a_refusal_counts_even_if_its_body_never_ends(
    asking: Asking, host: StubMainHost
) -> None:
    host.answer = _endless(401)
    with pytest.raises(InvalidToken):
        await asking(timeout=0.1).authenticate(bearer("token"))


async def test_a_cookie_that_it_sets_does_not_come_back(asking: Asking, host: StubMainHost) -> None:
    host.says('{"user_id": "alice"}', headers={"Set-Cookie": "session=alice; Path=/"})
    authenticator = asking()
    for token in ("one", "two"):
        await authenticator.authenticate(bearer(token))
    assert all("Cookie" not in request.headers for request in host.asked)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", AuthUnavailable),
        (b"SSH-2.0-OpenSSH_9.2\r\n", AuthFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", AuthFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", AuthFailed),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", AuthFailed),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", AuthFailed),
        (b"HTTP/1.1 999999 ?\r\n\r\n", AuthFailed),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_is_not_http_lets_nobody_in(raw: bytes, error: type[AuthError]) -> None:
    async with _raw_server(raw) as url:
        authenticator = MainHostAuthenticator(MainHostConfig(url=url, timeout=1.0))
        with pytest.raises(error):
            await authenticator.authenticate(bearer("token"))
        await authenticator.close()


def _endless(status: int) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    return answer


@asynccontextmanager
async def _raw_server(answer: bytes) -> AsyncIterator[str]:
    """Answer every connection with these bytes, then close it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"http://{host}:{port}"


@pytest.mark.parametrize(
    "groups", [None, [], ["team:7", 12, "gr\u00f6\u00dfe"], [str(n) for n in range(100)]]
)
async def test_groups_that_are_in_order_are_those_of_the_user(
    asking: Asking, host: StubMainHost, groups: list[object] | None
) -> None:
    host.says(json.dumps({"user_id": "alice", "groups": groups}))
    identity = await asking().authenticate(bearer("token"))
    assert identity == Identity("alice", groups=frozenset(map(str, groups or ())))


async def test_groups_that_are_not_say_which_one_it_is(asking: Asking, host: StubMainHost) -> None:
    """And a list that is too long says how long it may be."""
    host.says(json.dumps({"user_id": "alice", "groups": ["team:7", "a\nb"]}))
    with pytest.raises(AuthFailed, match=r"the group 'a\\nb' contains a control character"):
        await asking().authenticate(bearer("token"))
    host.says(json.dumps({"user_id": "alice", "groups": list(range(101))}))
    with pytest.raises(AuthFailed, match="there are 101 groups, at most 100 allowed"):
        await asking().authenticate(bearer("other"))
