"""A token in a cookie: it travels by itself, so who sends the request has to be looked at."""

import pytest

from tests.harness import NotifyServer
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask

APP = "https://app.example"
COOKIE = "theme=dark; session=token-42"


@pytest.fixture
async def server(serve: Serve) -> NotifyServer:
    return await serve(
        {"auth.cookie": "session", "cors.origins": [APP], "server.handshake_rate": 0}
    )


async def test_our_own_pages_and_those_of_configured_origins_get_in(
    server: NotifyServer, main_host: HostProcess
) -> None:
    own = server.url
    for headers in (
        {},
        {"Origin": own},
        {"Origin": own, "Sec_Fetch_Site": "same-origin"},
        {"Sec_Fetch_Site": "none"},
    ):
        reply = await knock(server, None, Cookie=COOKIE, **headers)
        assert reply.status == 200, headers
    reply = await knock(server, None, Cookie=COOKIE, Origin=APP, Sec_Fetch_Site="cross-site")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == APP
    assert reply.headers["access-control-allow-credentials"] == "true"
    # It is asked about as a token, and the cookies stay here.
    head = main_host.seen.head
    assert "Authorization: Bearer token-42\r\n" in head
    assert "Cookie" not in head


SPOOFED = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "file://"},
    {"Origin": f"{APP}.evil.example"},
    {"Origin": "https://evil.example/https://app.example"},
    {"Origin": f"{APP}, https://evil.example"},
    {"Origin": "http://app.example"},
    {"Origin": f"{APP}:444"},
    {"Origin": "https://APP.example.evil"},
    {"Origin": "127.0.0.1"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "same-origin, cross-site"},
    {"Sec_Fetch_Site": ""},
    {"Origin": "https://evil.example", "Sec_Fetch_Site": "none"},
    {"Origin": "https://evil.example", "Referer": APP},
    {"Origin": "https://evil.example", "X_Forwarded_Host": "evil.example"},
]


async def test_a_page_of_anybody_elses_gets_neither_in_nor_a_ticket(
    server: NotifyServer, main_host: HostProcess
) -> None:
    for headers in SPOOFED:
        reply = await knock(server, None, Cookie=COOKIE, **headers)
        assert (reply.status, reply.code) == (403, "credentials_missing"), headers
        assert "access-control-allow-origin" not in reply.headers
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        for method, path in (("POST", "/notify/ticket"), ("HEAD", "/notify")):
            answer = await ask(server, path, method, headers={"Cookie": COOKIE, **lines})
            assert answer.status == 403
    assert main_host.seen.asked == 0


async def test_a_cookie_publishes_nothing_and_is_nothing_unless_configured(
    server: NotifyServer, serve: Serve, main_host: HostProcess
) -> None:
    for name in ("Session", "session2", "__Host-session", "token"):
        reply = await knock(server, None, Cookie=f"{name}=token-42")
        assert (reply.status, reply.code) == (403, "credentials_missing")
    without = await serve()
    reply = await knock(without, None, Cookie=COOKIE)
    assert (reply.status, reply.code) == (403, "credentials_missing")
    assert main_host.seen.asked == 0


async def test_a_header_beside_it_decides(server: NotifyServer, main_host: HostProcess) -> None:
    assert (await knock(server, "bad", Cookie=COOKIE)).status == 401
    assert (await knock(server, "token-43", Cookie="session=bad")).status == 200
    assert main_host.seen.about == {"bad": 1, "token-43": 1}
    reply = await knock(server, None, Cookie=COOKIE, Authorization="Basic dG9rZW4=")
    assert (reply.status, reply.code) == (403, "invalid_scheme")
