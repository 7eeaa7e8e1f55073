"""Whatever is sent: no answer is 500, nothing is logged with a traceback, and the server lives."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import NotifyServer
from tests.integration.auth.conftest import HostProcess
from tests.integration.conftest import Serve
from tests.integration.talk import ask

KEY = "publisher-key-0123456789"

few = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

junk = st.binary(max_size=40)
# Most bytes make a request that is none; these come further.
tame = st.binary(max_size=40).map(lambda raw: bytes(byte for byte in raw if byte > 31))
methods = st.sampled_from([b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS"])
paths = st.sampled_from(
    [b"/notify", b"/notify/ticket", b"/publish", b"/presence", b"/streams/", b"/readyz", b"/x"]
)
escapes = st.binary(max_size=12).map(lambda raw: b"".join(b"%%%02x" % byte for byte in raw))
names = st.sampled_from([b"ticket", b"last_event_id", b"recipient_id", b""])
queries = st.lists(st.tuples(names, escapes | tame).map(b"=".join), max_size=3).map(b"&".join)
targets = st.tuples(paths, st.just(b"") | escapes, queries).map(lambda parts: b"%b%b?%b" % parts)
lines = st.tuples(
    st.sampled_from(
        [
            *(b"Authorization: ", b"Authorization: Bearer ", b"Cookie: ", b"Cookie: session="),
            *(
                b"Origin: ",
                b"Origin: https://",
                b"Sec-Fetch-Site: ",
                b"Access-Control-Request-Method: ",
            ),
            *(b"X-Forwarded-For: ", b"X-Request-ID: ", b"Last-Event-ID: ", b"Last-Event-ID: 1."),
            *(b"Accept: ", b"Content-Type: ", b"Content-Encoding: ", b"If-None-Match: ", b"X: "),
        ]
    ),
    tame | st.sampled_from([b"token-1", KEY.encode(), b"app.example", b"203.0.113.1, 127.0.0.1"]),
).map(b"".join)
hostile_lines = st.tuples(
    st.sampled_from(
        [
            *(b"Content-Length: ", b"Transfer-Encoding: ", b"Expect: ", b"Upgrade: "),
            *(b"Connection: ", b"Host: ", b"", b" "),
        ]
    ),
    junk | st.sampled_from([b"chunked", b"5", b"gzip", b"100-continue", b"websocket", b"upgrade"]),
).map(b"".join)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that may be one."""
    line = b" ".join([draw(methods | junk), draw(targets), draw(st.just(b"HTTP/1.1") | tame)])
    return b"\r\n".join([line, b"Host: x", *draw(st.lists(lines | hostile_lines)), b"", draw(junk)])


@st.composite
def sound(draw: st.DrawFn) -> bytes:
    """A request that is one, of somebody who may or may not be let in."""
    line = b" ".join([draw(methods), draw(targets), b"HTTP/1.1"])
    who = draw(st.sampled_from([b"Bearer token-1", b"Bearer bad", b"Bearer " + KEY.encode(), b""]))
    first = b"Authorization: " + who if who else b"Cookie: session=token-1"
    return b"\r\n".join([line, b"Host: x", first, *draw(st.lists(lines, max_size=3)), b"", b""])


@st.composite
def admitted(draw: st.DrawFn) -> bytes:
    """A request of somebody with a key or a token, of good form; what is in it may be anything."""
    texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))
    json_values: st.SearchStrategy[object] = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=6,
    )
    members = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("recipient_id", "event", "id", "data"), json_values)
    )
    bodies = members.map(json.dumps).map(str.encode) | st.binary(max_size=60)
    body = draw(bodies)
    method, target = draw(
        st.sampled_from(
            [
                *((b"POST", b"/publish"), (b"GET", b"/metrics"), (b"POST", b"/notify/ticket")),
                *((b"GET", b"/presence?recipient_id=%b"), (b"DELETE", b"/streams/%b")),
                *((b"HEAD", b"/notify?last_event_id=%b"), (b"HEAD", b"/notify?ticket=%b")),
            ]
        )
    )
    quoted = b"".join(b"%%%02X" % byte for byte in draw(texts))
    target = target % quoted if b"%b" in target else target
    token = draw(st.sampled_from([KEY.encode(), b"token-1"]))
    return (
        b"%b %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
        % (method, target, token, len(body))
    ) + body


def answer(server: NotifyServer, request: bytes, patience: float) -> int:
    """The status of what comes back within `patience` seconds, 0 for nothing."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request)
        connection.settimeout(patience)
        try:
            head = connection.recv(65536)
        except (TimeoutError, ConnectionError):
            return 0
    return int(head.split(maxsplit=2)[1]) if head else 0


async def fuzzed(
    server: NotifyServer, sent: st.SearchStrategy[bytes], patience: float = 5
) -> Counter[int]:
    """What `server` answers to examples of `sent`."""
    statuses: Counter[int] = Counter()

    @few
    @given(sent)
    def run(request: bytes) -> None:
        status = answer(server, request, patience)
        statuses[status] += 1
        assert status != 500

    check: Callable[[], None] = run
    await asyncio.to_thread(check)
    assert (await ask(server, "/readyz")).status == 200
    return statuses


async def test_server_survives_any_request(serve: Serve, main_host: HostProcess) -> None:
    server = await serve(
        {
            "auth.cookie": "session",
            "admin.publish_keys": [KEY],
            "cors.origins": ["https://app.example"],
            "server.trusted_proxies": ["127.0.0.0/8"],
            "server.max_streams_per_address": 3,
        }
    )
    statuses = await fuzzed(server, requests(), patience=0.05)
    assert {400, 403} <= set(statuses)
    statuses = await fuzzed(server, sound())
    assert {200, 403} <= set(statuses)
    assert 0 not in statuses
    statuses = await fuzzed(server, admitted())
    assert {200, 400, 401} <= set(statuses)
    assert 0 not in statuses
