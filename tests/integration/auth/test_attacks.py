"""Requests that no honest client sends, as bytes on a socket, and that nothing of them is logged.

The log is at level debug and searched for every secret that was shown.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from aionotify.events.event import MAX_BYTES
from tests.embedded import embedded
from tests.harness import NotifyServer, RedisServer, SSEClient
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask, messages, metric, received

GOOD, BAD, COOKIE, KEY, BODY = (
    "good-bearer-6Tq1",
    "bad-bearer-6Tq2",
    "good-cookie-6Tq3",
    "publisher-key-6Tq4",
    "body-secret-6Tq5",
)
SECRETS = (GOOD, BAD, COOKIE, KEY, BODY)
REFUSED = {400, 403}


@pytest.fixture
async def server(serve: Serve, main_host: HostProcess) -> AsyncIterator[NotifyServer]:
    """A server to which `GOOD` is user 42; none of the secrets is in its log afterwards."""
    main_host.be(answers={GOOD: {"user_id": "42"}, COOKIE: {"user_id": "42"}})
    settings = {"log.level": "debug", "auth.cookie": "session", "admin.publish_keys": [KEY]}
    server = await serve(settings)
    yield server
    assert (await knock(server, BAD)).status == 401
    assert await server.terminate() == 0
    log = "\n".join(server.logs)
    assert "DEBUG" in log
    assert not [secret for secret in SECRETS if secret in log]


async def send(server: NotifyServer, *parts: bytes) -> tuple[int, bytes]:
    """Send `parts`, each by itself; return the status and the answer as far as it comes at once."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        # Of a stream, its beginning.
        body = await (reader.readexactly(int(length[1])) if length else reader.readuntil(b"\n\n"))
    writer.close()
    return int(head.split()[1]), head + body


def get(*lines: bytes, target: bytes = b"/notify", method: bytes = b"GET") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", b"Host: x", *lines, b"", b""])


BEARER = b"Authorization: Bearer " + GOOD.encode()
TWO_WAYS: dict[str, list[bytes]] = {
    "the same header twice": [BEARER, BEARER],
    "a good and a bad one": [BEARER, b"Authorization: Bearer " + BAD.encode()],
    "a bad and a good one": [b"Authorization: Bearer " + BAD.encode(), BEARER],
    "an empty one behind": [BEARER, b"Authorization:"],
    "in another case": [BEARER, b"AUTHORIZATION: Basic eA=="],
    "joined by a comma": [BEARER + b", Bearer " + BAD.encode()],
    "folded": [b"Authorization: Bearer", b" " + GOOD.encode()],
    "folded behind": [BEARER, b" more"],
    "folded into another": [b"X: a", b" " + BEARER],
    "folded by a tab": [b"X: a", b"\t" + BEARER],
    "space before the colon": [BEARER.replace(b":", b" :", 1)],
    "space before the name": [b" " + BEARER],
    "hidden behind a bare CR": [b"X: a\r" + BEARER],
    "NUL": [BEARER + b"\0"],
    "NUL in the name": [b"Authorization\0: Bearer " + GOOD.encode()],
    "vertical tab": [BEARER + b"\x0b"],
    "delete": [BEARER + b"\x7f"],
    "UTF-8": [BEARER + "\u00e9".encode()],
    "Latin-1": [BEARER + b"\xe9"],
    "no-break space": [BEARER.replace(b"Bearer ", b"Bearer\xc2\xa0")],
    "full width": [b"Authorization: Bearer " + "\uff47ood".encode()],
    "half a surrogate": [BEARER + b"\xed\xa0\x80"],
    "quoted": [b'Authorization: Bearer "' + GOOD.encode() + b'"'],
    "percent": [b"Authorization: Bearer %67ood"],
    "another scheme": [b"Authorization: Basic " + GOOD.encode()],
    "no scheme": [b"Authorization: " + GOOD.encode()],
    "two words": [BEARER + b" " + BAD.encode()],
    "a long token": [BEARER + b"a" * 4090],
    "a long line": [BEARER + b"a" * 9000],
    "many lines": [BEARER, *(b"X-%d: y" % n for n in range(200))],
    "for a proxy": [b"Proxy-" + BEARER],
    "with an underscore": [b"Authorization_: Bearer " + GOOD.encode()],
    "a cookie with NUL": [b"Cookie: session=" + COOKIE.encode() + b"\0"],
    "a cookie that is none": [b'Cookie: session="' + COOKIE.encode() + b'\\"; x'],
    "a cookie beside a bad header": [b"Authorization: x", b"Cookie: session=" + COOKIE.encode()],
    "a trailer": [b"Transfer-Encoding: chunked", b"Trailer: Authorization", b"", b"0", BEARER],
}


async def test_a_token_that_may_be_read_in_two_ways_is_not_read(
    server: NotifyServer, main_host: HostProcess
) -> None:
    for name, lines in TWO_WAYS.items():
        status, answer = await send(server, get(*lines))
        assert status in REFUSED, name
        assert b"event-stream" not in answer
    assert main_host.seen.asked == 0
    assert (await send(server, get(BEARER)))[0] == 200


SMUGGLED: dict[str, bytes] = {
    "two lengths": get(b"Content-Length: 4", b"Content-Length: 5") + b"body",
    "two lengths in one": get(b"Content-Length: 4, 4") + b"body",
    "a length with a sign": get(b"Content-Length: +4") + b"body",
    "a negative length": get(b"Content-Length: -4") + b"body",
    "a length in hex": get(b"Content-Length: 0x4") + b"body",
    "a length in words": get(b"Content-Length: " + BAD.encode()) + b"body",
    "a length beyond bounds": get(b"Content-Length: " + b"9" * 40),
    "a length and chunks": get(b"Content-Length: 4", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks that are not last": get(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "chunks, nearly": get(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunks twice": get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "no Host": b"GET /notify HTTP/1.1\r\n\r\n",
    "bare LF": b"GET /notify HTTP/1.1\nHost: x\n\n",
    "no version": b"GET /notify\r\n\r\n",
    "another version": b"GET /notify HTTP/7.0\r\nHost: x\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a secret for a method": BAD.encode() + b" /notify HTTP/1.1\r\nHost: x\r\n\r\n",
    "a secret behind the address": get(target=b"/notify?ticket=" + BAD.encode() + b" x"),
    "a control character in the address": get(target=b"/notify?ticket=" + BAD.encode() + b"\x01"),
    "a long address": get(target=b"/notify?ticket=" + BAD.encode() * 1000),
    "no address": get(target=b"http://[::1/notify?ticket=" + BAD.encode()),
    "a port beyond bounds": get(target=b"http://x:99999/?ticket=" + BAD.encode()),
}


async def test_a_request_whose_end_is_in_doubt_is_refused(
    server: NotifyServer, main_host: HostProcess
) -> None:
    port = int(server.url.rpartition(":")[2])
    for name, request in SMUGGLED.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Whoever sees the end of the first elsewhere sees another request there.
        writer.write(request + get(BEARER))
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert int(answer.split()[1]) in REFUSED, name
        assert b"event-stream" not in answer
    assert main_host.seen.asked == 0
    # However many there are: the log has a line now and then, not each and no traceback.
    assert sum("malformed request" in line for line in server.logs) < 5
    refused = await metric(server, "aionotify_requests_refused_total", code="malformed")
    assert refused == len(SMUGGLED)


async def test_other_ways_to_write_a_path_are_no_way_around_authentication(
    server: NotifyServer, main_host: HostProcess
) -> None:
    for target in (
        *(b"//notify", b"/./notify", b"/x/../notify", b"/notify/", b"/notify;x", b"/%6eotify"),
        *(b"/notify%00", b"/NOTIFY", b"/notify/..;/healthz", b"http://evil.example/notify", b"*"),
        *(b"/publish/", b"/%70ublish", b"/streams/42/", b"/streams/", b"/notify?x#?ticket=y"),
    ):
        for method in (b"GET", b"POST", b"DELETE", b"PUT", b"TRACE", b"CONNECT", b"OPTIONS"):
            status, _ = await send(server, get(target=target, method=method))
            assert status in (400, 403, 404, 405), (method, target)
    assert main_host.seen.asked == 0


async def test_an_upgrade_or_an_expectation_changes_nothing(server: NotifyServer) -> None:
    for lines in (
        [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"],
        [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"],
    ):
        for behind in (b"", b"\x81\x90" + GOOD.encode(), get(BEARER)):
            status, answer = await send(server, get(*lines) + behind)
            assert status in REFUSED
            assert b"event-stream" not in answer
    status, _ = await send(server, get(b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /x"))
    assert status == 403
    for text in (BAD.encode(), b"\x80"):
        assert (await send(server, get(BEARER, b"Expect: " + text)))[0] == 417


INJECTED = re.compile(rb"(?:event|data): ?x")


async def test_a_cursor_injects_no_line_wherever_it_comes_from(server: NotifyServer) -> None:
    for given in ("a\r\nevent: x", "a\ndata: x\n\n", "\0", "\u2028data: x", "\ud800", "x" * 7000):
        written = quote(given, errors="surrogatepass").encode()
        status, answer = await send(server, get(BEARER, target=b"/notify?last_event_id=" + written))
        assert (status, INJECTED.search(answer)) == (200, None)
    status, answer = await send(server, get(BEARER, b"Last-Event-ID: a\r\nevent: x"))
    assert (status, INJECTED.search(answer)) == (200, None)
    for junk in (b"\xff\xfe", b"a" * 8000, b"1." + b"f" * 14, b"1.0\t.0"):
        assert (await send(server, get(BEARER, b"Last-Event-ID: " + junk)))[0] == 200
    for junk in (b"a\nevent: x", b"\0", b"a\rb"):
        assert (await send(server, get(BEARER, b"Last-Event-ID: " + junk)))[0] in REFUSED


async def test_a_body_that_is_not_what_it_says_is_the_senders_fault(server: NotifyServer) -> None:
    key, secret = b"Authorization: Bearer " + KEY.encode(), BODY.encode()
    chunked = get(key, b"Transfer-Encoding: chunked", target=b"/publish", method=b"POST")

    def sized(body: bytes, *lines: bytes) -> bytes:
        length = b"Content-Length: %d" % len(body)
        return get(key, length, *lines, target=b"/publish", method=b"POST") + body

    for name, parts in {
        "no JSON": [sized(secret)],
        "no event": [sized(b'{"x": "%b"}' % secret)],
        "a bad recipient": [sized(b'{"recipient_id": ["%b", null]}' % secret)],
        "UTF-16": [sized(json.dumps({"recipient_id": BODY}).encode("utf-16"))],
        "not gzip": [sized(secret, b"Content-Encoding: gzip")],
        "an encoding of nobody's": [sized(secret, b"Content-Encoding: " + BAD.encode())],
        "bad chunks": [chunked + b"zz" + secret + b"\r\n"],
        "chunks that overflow": [chunked + b"f" * 17 + b"\r\n" + secret],
        "a chunk that is longer": [chunked + b"1\r\n" + secret + b"\r\n0\r\n\r\n"],
        "many trailers": [chunked + b"2\r\n{}\r\n0\r\n" + b"A: %b\r\n" % secret * 500 + b"\r\n"],
        "a long extension": [chunked + b"2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n"],
        "a crumb in each chunk": [chunked + b"1\r\na\r\n" * 80_000 + b"0\r\n\r\n"],
    }.items():
        status, answer = await send(server, *parts)
        assert status == (415 if "gzip" in name or "encoding" in name else 400), name
        assert secret not in answer or answer.startswith(b"HTTP/1.0 400"), name  # aiohttp's own
    for status, size in ((413, 16 * MAX_BYTES + 1), (400, 16 * MAX_BYTES)):
        assert (await send(server, sized(secret + b" " * (size - len(secret)))))[0] == status
    # Without a key nobody looks at it.
    for head in (chunked, sized(secret)):
        assert (await send(server, head.replace(KEY.encode(), BAD.encode() * 2)))[0] == 401


async def test_who_waits_before_sending_a_body_is_told_to_go_on(server: NotifyServer) -> None:
    """RFC 9110 section 10.1.1; curl does so for a body of more than a megabyte."""
    key, close = b"Authorization: Bearer " + KEY.encode(), b"Connection: close"
    lines = key, close, b"Expect: 100-continue", b"Content-Length: 2"
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(get(*lines, target=b"/publish", method=b"POST"))
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request")
    writer.close()


async def test_a_body_that_does_not_unpack_is_not_our_failure(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In an application of somebody's, whose server unpacks bodies."""
    admin = {"publish_keys": [KEY]}
    async with embedded(redis_server.url, admin=admin) as (url, _):
        headers = {"Content-Encoding": "gzip"}
        answer = await ask(url, "/publish", "POST", token=KEY, headers=headers, data=BODY.encode())
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert not [record for record in caplog.records if record.name.startswith("aionotify")]


async def test_secrets_in_requests_that_are_honest_are_not_logged_either(
    server: NotifyServer, main_host: HostProcess
) -> None:
    ticket = (await ask(server, "/notify/ticket", "POST", token=GOOD)).json["ticket"]
    for _ in range(2):
        await knock(server, None, f"?ticket={ticket}")
        await knock(server, BAD)
    await knock(server, None, Cookie=f"session={COOKIE}")
    await ask(server, "/publish", "POST", token=BAD, data=BODY.encode())
    event = json.dumps({"recipient_id": "42", "data": BODY}).encode()
    assert (await ask(server, "/publish", "POST", token=KEY, data=event)).status == 202
    for behaviour in ({"raw": f"{GOOD} {BAD}\r\n\r\n"}, {"raw": "HTTP/1.1 500 x\r\n\r\n"}):
        main_host.be(**behaviour)
        await knock(server, f"{BAD}-other")
    main_host.down()
    await knock(server, f"{BAD}-one-more")
    metrics = (await ask(server, "/metrics")).body.decode()
    assert ticket not in metrics + "".join(server.logs)
    assert not [secret for secret in SECRETS if secret in metrics]


async def test_a_user_is_never_taken_for_another_or_for_a_name_of_ours(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    """Names that look like our keys, with what one of them got lying in the inbox of none other."""
    names = ["a", "a}:inbox", "{a}", "a}:id:", "{a", "a%7D:id:", "a:inbox", "control", "%", "**"]
    keys = ("k", "inbox", "}:inbox", "a}:id:k")
    main_host.be(answers={f"t{n}": {"user_id": name} for n, name in enumerate(names)})
    server = await serve({"admin.publish_keys": [KEY]})
    clients = [SSEClient(f"{server.url}/notify", token=f"t{n}") for n in range(len(names))]
    for client in clients:
        await client.connect()
        await client.wait_events(1)
        await client.close()
    for key in keys:
        for name in names:
            event = json.dumps({"recipient_id": name, "id": key, "data": key}).encode()
            assert (await ask(server, "/publish", "POST", token=KEY, data=event)).status == 202
    for name, client in zip(names, clients, strict=True):
        await client.reconnect()
        got = await received(client, 4)
        assert [(event["recipient_id"], event["data"]) for event in got] == [
            (name, key) for key in keys
        ]
        await client.close()
        assert len(messages(client)) == 4
    assert len(redis_server.cli("KEYS", "aionotify:{*")) == len(names) * (1 + len(keys))
