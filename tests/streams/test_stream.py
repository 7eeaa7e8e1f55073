"""The life of a stream, with its connection handed over and without.

In an application that is served as aiohttp does it by default, that is without
handler_cancellation: nobody tells a handler that its client has left.
"""

import asyncio
import gc
import json
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp_sse
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from aionotify import Publisher, setup
from aionotify.events.cursor import Cursor
from aionotify.events.event import decode
from aionotify.events.frame import chunk
from aionotify.events.group import Ordered
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason
from aionotify.streams.response import NotificationResponse
from aionotify.streams.stream import Stream, StreamSettings, _unchunk
from aionotify.web.services import SERVICES, Services
from tests.embedded import KnownByToken, TokenIsUser, config, embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import messages, publish, received, stream

Served = tuple[str, Services]


@pytest.fixture(params=[True, False], ids=["handed over", "not handed over"])
def hand_over(request: pytest.FixtureRequest) -> bool:
    """Whether streams take their connections over."""
    return bool(request.param)


@pytest.fixture
async def served_app(redis_server: RedisServer, hand_over: bool) -> AsyncIterator[Served]:
    """The address of an application, and what its streams are made with."""
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    async with embedded(redis_server.url, hand_over=hand_over, stream=fast) as (url, services):
        yield url, services


@pytest.fixture
def responses(monkeypatch: pytest.MonkeyPatch) -> list[NotificationResponse]:
    """The responses of all streams that are opened."""
    made: list[NotificationResponse] = []
    serve = NotificationResponse.serve

    async def served(self: NotificationResponse, *args: Any, **options: Any) -> None:
        made.append(self)
        await serve(self, *args, **options)

    monkeypatch.setattr(NotificationResponse, "serve", served)
    return made


def only(services: Services) -> Stream:
    """The one stream that is open."""
    [found] = services.hub.streams()
    assert isinstance(found, Stream)
    return found


# --- the response and the connection --------------------------------------------------------------


def tasks() -> list[str]:
    """What runs for the connections, but for the clients' own tasks."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    return sorted(name for name in names if name.startswith(("RequestHandler", "Stream")))


async def test_it_is_what_aiohttp_sse_promises_of_a_response(
    redis_server: RedisServer, responses: list[NotificationResponse]
) -> None:
    """`is_connected`, `last_event_id`, `stop_streaming` and `wait`, without a ping task."""
    async with embedded(redis_server.url) as (url, services):
        headers = {"Last-Event-ID": "1"}
        async with SSEClient(f"{url}/notify", token="token-42", headers=headers) as client:
            await client.wait_events(2)
            [response] = responses
            assert isinstance(response, aiohttp_sse.EventSourceResponse)
            assert response.is_connected()
            assert response.last_event_id == "1"
            await eventually(lambda: only(services).live)
            await eventually(
                lambda: tasks() == ["RequestHandler._handle_request", "RequestHandler.start"]
            )
            waiting = asyncio.create_task(response.wait())
            await asyncio.sleep(0)
            response.stop_streaming()
            await waiting
            assert not response.is_connected()
            await client.wait_end()
        await eventually(lambda: len(services.hub) == 0)


async def test_of_a_request_whose_connection_was_handed_over_nothing_is_left(
    redis_server: RedisServer, responses: list[NotificationResponse]
) -> None:
    """No task, no handler, no request: else memory is what it was."""
    requests: list[weakref.ref[web.BaseRequest]] = []

    def remember(app: web.Application) -> None:
        async def seen(request: web.Request, response: web.StreamResponse) -> None:
            requests.append(weakref.ref(request))

        app.on_response_prepare.append(seen)

    async with embedded(redis_server.url, remember, hand_over=True) as (url, services):
        async with stream(url, "42") as client:
            await eventually(lambda: services.hub.streams() and only(services).live)
            await eventually(lambda: tasks() == [])
            assert only(services)._transport.get_protocol() is only(services)
            kept = [weakref.ref(responses.pop().prepare.__self__), *requests]  # type: ignore[attr-defined]
            gc.collect()
            assert [each() for each in kept] == [None, None]
            services.hub.revoked("42")
            assert await client.wait_end() == "complete"
        assert len(services.hub) == 0


async def test_a_stream_is_not_handed_over_whose_authenticator_wants_the_request_again(
    redis_server: RedisServer,
) -> None:
    async with (
        embedded(redis_server.url, authenticator=TokenIsUser(), hand_over=True) as (
            url,
            services,
        ),
        stream(url, "42") as client,
    ):
        await client.wait_events(1)
        assert only(services)._transport.get_protocol() is not only(services)


async def test_a_connection_is_not_handed_over_that_aiohttp_does_not_serve_as_usual(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is the same all the same."""

    class Other(asyncio.Protocol): ...

    monkeypatch.setattr("aionotify.streams.hand_over.RequestHandler", Other)
    async with (
        embedded(redis_server.url, hand_over=True) as (url, services),
        stream(url, "42") as client,
        Publisher(redis_server.url) as publisher,
    ):
        await client.wait_events(1)
        assert only(services)._transport.get_protocol() is not only(services)
        await publisher.publish({"recipient_id": "42", "n": 1})
        assert [event["n"] for event in await received(client, 1)] == [1]


async def test_an_authenticator_that_fails_when_the_stream_has_begun_leaves_no_slot_taken(
    redis_server: RedisServer,
) -> None:
    """It is asked once more then, for what shows who has the stream."""

    class Failing(KnownByToken):
        def token_of(self, request: web.Request) -> str:
            if "asked" in request:
                raise RuntimeError("not twice")
            request["asked"] = True
            return super().token_of(request)

    limits = {"max_streams_per_address": 5}
    async with embedded(
        redis_server.url, authenticator=Failing(), hand_over=True, server=limits
    ) as (url, services):
        async with stream(url, "42") as client:
            await client.wait_end()
        await eventually(lambda: len(services.hub) == 0 and not services.limits._open)


async def test_a_second_prepare_is_no_second_head(
    served_app: Served, responses: list[NotificationResponse]
) -> None:
    url, _ = served_app
    async with stream(url, "42") as client:
        await client.wait_events(1)
        [response] = responses
        if response._handed_over:
            assert await response.prepare(make_mocked_request("GET", "/notify")) is not None
        else:
            assert response._req is not None
            assert await response.prepare(response._req) is response._payload_writer
        assert client.raw.count(b"HTTP/1.1") == 0


async def test_it_cannot_be_compressed_by_mistake(
    served_app: Served, responses: list[NotificationResponse]
) -> None:
    """A compressor would keep events until its block is full."""
    url, _ = served_app
    async with stream(url, "42", headers={"Accept-Encoding": "gzip"}) as client:
        await client.wait_events(1)
        with pytest.raises(NotImplementedError):
            responses[0].enable_compression()


async def test_the_kernel_is_told_how_long_a_client_may_take_nothing(served_app: Served) -> None:
    url, services = served_app
    async with stream(url, "42") as client:
        await client.wait_events(1)
        sock = only(services)._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 500  # ms
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16384
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_draining_waits_for_just_as_long_as_something_waits_in_this_process(
    redis_server: RedisServer, hand_over: bool
) -> None:
    async with embedded(redis_server.url, hand_over=hand_over) as (url, services):
        client = stream(url, "42", receive_buffer=4096)
        await client.connect()
        await client.wait_events(1)
        open_ = only(services)
        assert open_.buffered() == 0
        async with asyncio.timeout(5):
            await open_.drain()
        client.stall()
        while not open_.buffered():
            open_.write(b": " + b"x" * 10_000 + b"\n")
        draining = asyncio.create_task(open_.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        client.flow()
        async with asyncio.timeout(5):
            await draining
        assert open_.buffered() == 0
        await client.close()


async def test_what_waits_in_this_process_when_a_connection_is_handed_over_is_known() -> None:
    """The transport has told its old protocol that writing is paused."""
    transport = mock.create_autospec(asyncio.Transport, instance=True)
    transport.get_write_buffer_size.return_value = 1
    transport.is_closing.return_value = False
    hub = Hub(_Nobody())
    stream = Stream(
        StreamSettings(), hub, hub.enter("42"), mock.Mock(), Heartbeat(60), start=Cursor(0, 0)
    )
    stream.begin(transport, lambda stream: None)
    draining = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    transport.get_write_buffer_size.return_value = 0
    stream.resume_writing()
    await draining
    stream.close(CloseReason.GONE)
    await asyncio.sleep(0)
    transport.close.assert_called_once()


async def test_a_transport_that_knows_no_more_what_waits_costs_no_other_stream_an_event() -> None:
    """As asyncio's of TLS does, once it is closed and before it says so to its protocol."""
    hub = Hub(_Nobody())
    streams = []
    for _ in range(20):  # of which the set has the one with the closed transport anywhere
        transport = mock.create_autospec(asyncio.Transport, instance=True)
        transport.get_write_buffer_size.return_value = 0
        transport.is_closing.return_value = False
        stream = Stream(
            StreamSettings(), hub, hub.enter("42"), mock.Mock(), Heartbeat(60), start=Cursor(0, 0)
        )
        stream.begin(transport, lambda stream: None)
        streams.append((stream, transport))
    for stream, transport in streams[::2]:
        stream.pause_writing()
        transport.is_closing.return_value = True
        transport.get_write_buffer_size.side_effect = AttributeError("'NoneType' object has no…")
    hub.ephemeral(decode(b'{"recipient_id": "42"}'))
    assert all(transport.write.called for _, transport in streams[1::2])
    for stream, _ in streams:
        assert stream.buffered() == 0
        stream.close(CloseReason.GONE)
    await asyncio.sleep(0)


async def test_what_waits_when_a_connection_is_kept_by_aiohttp_is_known_to_aiohttp_alone() -> None:
    """It is told when that has been taken, and the stream is not."""
    transport = mock.create_autospec(asyncio.Transport, instance=True)
    transport.get_write_buffer_size.return_value = 1  # of an answer before
    transport.is_closing.return_value = False
    taken, ended = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def drain() -> None:
        await taken.wait()

    hub = Hub(_Nobody())
    stream = Stream(
        StreamSettings(), hub, hub.enter("42"), mock.Mock(), Heartbeat(60), start=Cursor(0, 0)
    )
    stream.begin(transport, lambda stream: None, drain=drain, ended=ended)
    draining = asyncio.create_task(stream.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    taken.set()
    async with asyncio.timeout(5):
        await draining
    stream.close(CloseReason.GONE)
    await ended


class _Nobody:
    def want(self, of: Ordered) -> None: ...
    def drop(self, of: Ordered) -> None: ...


async def test_a_client_may_send_what_it_likes_but_not_for_ever(
    redis_server: RedisServer, hand_over: bool
) -> None:
    """Nothing of it is kept."""
    async with (
        embedded(redis_server.url, hand_over=hand_over) as (url, services),
        stream(url, "42") as client,
        Publisher(redis_server.url) as publisher,
    ):
        await client.wait_events(1)
        writer = client._writer
        assert writer is not None
        writer.write(b"GET /notify HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 60_000)
        await publisher.publish({"recipient_id": "42", "n": 1})
        assert [event["n"] for event in await received(client, 1)] == [1]
        if hand_over:
            writer.write(b"x" * 10_000)
            await client.wait_end()
            await eventually(lambda: services.stats.closed == {"unexpected_data": 1})


async def test_a_request_with_a_body_opens_a_stream_like_any_other(served_app: Served) -> None:
    url, services = served_app
    body = b"x" * 300_000  # more than is read before somebody asks for it
    client = stream(url, "42", headers={"Content-Length": str(len(body))})
    await client.connect()
    await client.wait_events(1)
    assert client._writer is not None
    client._writer.write(body)
    await client.close()
    await eventually(lambda: len(services.hub) == 0)


def test_a_client_that_left_while_it_was_asked_about_gets_no_stream() -> None:
    request = make_mocked_request("GET", "/notify")
    request.protocol.transport = None
    response = NotificationResponse(30, {})
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_prepared(response, request))


async def _prepared(response: NotificationResponse, request: web.BaseRequest) -> None:
    await response.prepare(request)


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_client_that_leaves_while_the_application_sees_to_the_head_is_gone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, how: str, hand_over: bool
) -> None:
    """Its signals may await something; that is no error to be logged."""
    left = asyncio.Event()

    async def await_something(request: web.Request, response: web.StreamResponse) -> None:
        assert request.transport is not None
        getattr(request.transport, how)()
        await eventually(lambda: request.transport is None)
        left.set()

    async with embedded(
        redis_server.url,
        lambda app: app.on_response_prepare.append(await_something),
        hand_over=hand_over,
    ) as (url, services):
        with pytest.raises((ConnectionError, EOFError)):
            await stream(url, "42").connect()
        await left.wait()
        await eventually(lambda: len(services.hub) == 0)
    assert not [record for record in caplog.records if record.levelno >= 30]


# --- clients that leave, and that take nothing ---------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_vanishes_is_noticed_by_its_next_heartbeat(
    served_app: Served, how: str
) -> None:
    url, services = served_app
    client = stream(url, "42")
    await client.connect()
    await client.wait_events(1)
    if how == "reset":
        client.reset()
    await client.close()
    await eventually(lambda: len(services.hub) == 0, timeout=2)
    assert services.stats.closed == {"gone": 1}


async def test_an_event_for_one_who_has_vanished_reaches_the_others(
    served_app: Served, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url, services = served_app
    clients = [stream(url, "42") for _ in range(6)]
    for client in clients:
        await client.connect()
        await client.wait_events(1)
    gone, stay = clients[::2], clients[1::2]
    for client in gone:
        client.reset()
    for n in range(20):  # before and after it is noticed, in whatever order streams are written to
        publish(redis_server, {"recipient_id": "42" if n % 2 else "*", "n": n})
    async with Publisher(redis_server.url) as publisher:
        await publisher.publish({"recipient_id": "42", "n": 20})
        await publisher.publish({"recipient_id": "*", "n": 21})
    for client in stay:
        assert [event["n"] for event in await received(client, 22)] == list(range(22))
    await eventually(lambda: len(services.hub) == 3)
    for client in clients:
        await client.close()
    assert not [record for record in caplog.records if record.levelno >= 30]


async def test_one_who_takes_nothing_is_cut_off_where_no_kernel_does_it(
    redis_server: RedisServer, tmp_path: Path, hand_over: bool
) -> None:
    """A unix socket has no TCP_USER_TIMEOUT."""
    app = web.Application()
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    known = KnownByToken()
    setup(app, config(redis_server.url, stream=fast), authenticator=known, hand_over=hand_over)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "socket")).start()
    services = app[SERVICES]
    _, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"), limit=1024)
    writer.write(b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n\r\n")
    await eventually(services.hub.streams)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    open_, loop = only(services), asyncio.get_running_loop()
    while not open_.buffered():
        publish(redis_server, {"recipient_id": "42", "text": "x" * 50_000})
        await asyncio.sleep(0.01)
    began = loop.time()
    await eventually(lambda: len(services.hub) == 0)
    assert 0.4 < loop.time() - began < 3
    assert services.stats.closed == {"stalled": 1}
    writer.close()
    await runner.cleanup()


# --- how a stream ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", [CloseReason.TOKEN_EXPIRED, CloseReason.TOKEN_REFUSED, CloseReason.REVOKED]
)
async def test_one_who_may_no_longer_listen_is_told_so_and_where_it_was(
    served_app: Served, redis_server: RedisServer, reason: CloseReason
) -> None:
    url, services = served_app
    async with Publisher(redis_server.url) as publisher, stream(url, "42") as client:
        await client.wait_events(1)
        await publisher.publish({"recipient_id": "42"})
        await received(client, 1)
        open_ = only(services)
        open_.close(reason)
        open_.close(CloseReason.DRAIN)  # the first one counts
        assert await client.wait_end() == "complete"
        last = client.events[-1]
        assert (last.event, json.loads(last.data)) == ("aionotify.expired", {"reason": reason})
        assert last.id == messages(client)[-1].id
    assert services.stats.closed == {reason: 1}


async def test_a_stream_that_is_being_opened_when_draining_begins_ends_with_it(
    served_app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, services = served_app
    prepare = NotificationResponse.prepare

    async def prepare_late(self: NotificationResponse, request: web.BaseRequest) -> Any:
        services.hub.closed = True
        return await prepare(self, request)

    monkeypatch.setattr(NotificationResponse, "prepare", prepare_late)
    async with stream(url, "42") as client:
        assert client.status == 200
        assert await client.wait_end() == "complete"
        assert [event.event for event in client.events] == ["aionotify.open", "aionotify.drain"]
    assert len(services.hub) == 0


async def test_what_comes_while_a_stream_ends_is_not_written_behind_its_end(
    served_app: Served, redis_server: RedisServer
) -> None:
    url, services = served_app
    async with stream(url, "42") as client:
        await client.wait_events(1)
        open_ = only(services)
        open_.close(CloseReason.DRAIN)
        for n in range(5):
            open_.push(chunk(b"data: %d\n\n" % n))
        assert await client.wait_end() == "complete"
        assert bytes(client.raw).endswith(b"0\r\n\r\n")


async def test_the_application_can_end_with_streams_open_and_stalled(
    redis_server: RedisServer, hand_over: bool
) -> None:
    """Alone aiohttp would wait twice its shutdown_timeout, two minutes by default."""
    loop = asyncio.get_running_loop()
    clients = []
    async with embedded(redis_server.url, hand_over=hand_over) as (url, services):
        for n in range(10):
            clients.append(stream(url, str(n), receive_buffer=4096))
            await clients[-1].connect()
            await clients[-1].wait_events(1)
        clients[0].stall()
        stalled = next(each for each in services.hub.streams() if each.recipient.id == "0")
        while not stalled.buffered():
            stalled.push(chunk(b": " + b"x" * 10_000 + b"\n"))
            stalled.flush()
        began = loop.time()
    assert loop.time() - began < 3
    for client in clients:
        client.flow()
        assert await client.wait_end() == ("reset" if client is clients[0] else "complete")
        await client.close()


# --- live and behind -----------------------------------------------------------------------------


async def test_a_stream_goes_from_live_to_behind_and_back(
    redis_server: RedisServer, hand_over: bool
) -> None:
    async with (
        embedded(redis_server.url, hand_over=hand_over, stream={"buffer": 8192}) as (url, services),
        Publisher(redis_server.url) as publisher,
        stream(url, "42", receive_buffer=4096) as client,
    ):
        await eventually(lambda: services.hub.streams() and only(services).live)
        client.stall()
        sent = 0
        while only(services).live:
            await publisher.publish({"recipient_id": "42", "n": sent, "text": "x" * 2000})
            sent += 1
            assert sent < 1000
        assert services.stats.fell_behind >= 1
        client.flow()
        assert [event["n"] for event in await received(client, sent)] == list(range(sent))
        await eventually(lambda: only(services).live)


async def test_an_ephemeral_event_does_not_wait_for_a_catch_up(
    served_app: Served, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, services = served_app
    async with stream(url, "42") as client:
        await eventually(lambda: services.hub.streams() and only(services).live)
        services.hub.lost()  # from now on it waits to hear that Redis is back
        assert not only(services).live
        publish(redis_server, {"recipient_id": "42"})
        assert await received(client, 1) == [{"recipient_id": "42"}]


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=10))
def test_an_old_client_gets_the_frames_without_their_chunks(frames: list[bytes]) -> None:
    assert _unchunk(b"".join(map(chunk, frames))) == b"".join(frames)


# --- TLS -----------------------------------------------------------------------------------------


def certificate(directory: Path) -> Path:
    """A certificate for localhost and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


Opened = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@asynccontextmanager
async def over_tls(
    redis: RedisServer, directory: Path, *, hand_over: bool, **stream: float
) -> AsyncIterator[tuple[Services, Opened]]:
    """What an application has that serves TLS by itself, and what opens a stream of it."""
    app = web.Application()
    known = KnownByToken()
    setup(app, config(redis.url, stream=stream), authenticator=known, hand_over=hand_over)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    async def opened(after: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", runner.addresses[0][1], ssl=trusting
        )
        last = b"Last-Event-ID: %b\r\n" % after if after else b""
        writer.write(
            b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n%b\r\n" % last
        )
        async with asyncio.timeout(10):
            await reader.readuntil(b"aionotify.open")
        return reader, writer

    try:
        yield app[SERVICES], opened
    finally:
        await runner.cleanup()


async def test_over_tls_what_was_missed_is_caught_up_with_at_once(
    redis_server: RedisServer, tmp_path: Path, hand_over: bool
) -> None:
    """Page by page, with no heartbeat in between that would have TLS look at what waits again."""
    async with (
        over_tls(redis_server, tmp_path, hand_over=hand_over, heartbeat=90) as (services, opened),
        Publisher(redis_server.url) as publisher,
    ):
        reader, writer = await opened()
        async with asyncio.timeout(10):
            await reader.readuntil(b"id: ")
            at = (await reader.readline()).strip()
        writer.transport.abort()
        for n in range(90):
            await publisher.publish({"recipient_id": "42", "n": n, "text": "x" * 1000})
        reader, writer = await opened(at)
        try:
            async with asyncio.timeout(10):
                for n in range(90):
                    await reader.readuntil(b'"n":%d,' % n)
            await eventually(lambda: all(each.live for each in services.hub.streams()))
        finally:
            writer.transport.abort()


async def test_it_streams_over_tls_and_notices_who_leaves(
    redis_server: RedisServer, tmp_path: Path, hand_over: bool
) -> None:
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    async with over_tls(redis_server, tmp_path, hand_over=hand_over, **fast) as (services, opened):
        await _streams_and_notices(redis_server, services, opened)


async def _streams_and_notices(
    redis_server: RedisServer, services: Services, opened: Opened
) -> None:
    reader, writer = await opened()
    publish(redis_server, {"recipient_id": "42", "n": 1})
    async with asyncio.timeout(10):
        await reader.readuntil(b'"n": 1')
    writer.transport.abort()
    publish(redis_server, {"recipient_id": "42", "n": 2})
    await eventually(lambda: len(services.hub) == 0)

    reader, writer = await opened()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    open_ = only(services)
    while not open_.buffered():
        open_.write(b": " + b"x" * 50_000 + b"\n")
        await asyncio.sleep(0.01)
    await eventually(lambda: len(services.hub) == 0)
    writer.transport.abort()
