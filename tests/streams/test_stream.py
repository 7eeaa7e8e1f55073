"""The life of a stream, in an application that is served as aiohttp does it by default.

That is without handler_cancellation: nobody tells a handler that its client has left.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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
from aionotify.events.frame import chunk
from aionotify.streams.hub import Hub
from aionotify.streams.reasons import CloseReason
from aionotify.streams.stream import NotificationStream, StreamSettings, _unchunk
from aionotify.web.services import SERVICES, Services
from tests.embedded import TokenIsUser, config, embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import messages, publish, received, stream

Served = tuple[str, Services]


@pytest.fixture
async def served_app(redis_server: RedisServer) -> AsyncIterator[Served]:
    """The address of an application, and what its streams are made with."""
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    async with embedded(redis_server.url, stream=fast) as (url, services):
        yield url, services


def only(services: Services) -> NotificationStream:
    """The one stream that is open."""
    [found] = services.hub.streams()
    assert isinstance(found, NotificationStream)
    return found


# --- what we rely on in others -------------------------------------------------------------------


async def test_it_is_what_aiohttp_sse_promises_of_a_response(served_app: Served) -> None:
    """`is_connected`, `last_event_id`, `stop_streaming` and `wait`, without a ping task."""
    url, services = served_app
    async with SSEClient(f"{url}/notify", token="token-42") as client:
        await client.wait_events(1)  # the connections to Redis are there from now on
    await eventually(lambda: not services.hub.streams())
    before = asyncio.all_tasks()

    def added() -> list[str]:
        """What runs for the connection, but for the client's own task."""
        tasks = asyncio.all_tasks() - before
        names = [task.get_coro().__qualname__ for task in tasks]  # type: ignore[union-attr]
        return sorted(name for name in names if not name.startswith("SSEClient"))

    headers = {"Last-Event-ID": "1"}
    async with SSEClient(f"{url}/notify", token="token-42", headers=headers) as client:
        await client.wait_events(2)
        open_ = only(services)
        assert isinstance(open_, aiohttp_sse.EventSourceResponse)
        assert open_.is_connected()
        assert open_.last_event_id == "1"
        await eventually(lambda: open_.live)
        await eventually(
            lambda: added() == ["RequestHandler._handle_request", "RequestHandler.start"]
        )
        waiting = asyncio.create_task(open_.wait())
        await asyncio.sleep(0)
        open_.stop_streaming()
        await waiting
        assert not open_.is_connected()
        await client.wait_end()


async def test_a_second_prepare_is_no_second_head(served_app: Served) -> None:
    url, services = served_app
    async with stream(url, "42") as client:
        await client.wait_events(1)
        open_ = only(services)
        assert await open_.prepare(open_._req) is open_._payload_writer  # type: ignore[arg-type]
        assert client.raw.count(b"HTTP/1.1") == 0


async def test_it_cannot_be_compressed_by_mistake(served_app: Served) -> None:
    """A compressor would keep events until its block is full."""
    url, services = served_app
    async with stream(url, "42", headers={"Accept-Encoding": "gzip"}) as client:
        await client.wait_events(1)
        with pytest.raises(NotImplementedError):
            only(services).enable_compression()


async def test_the_kernel_is_told_how_long_a_client_may_take_nothing(served_app: Served) -> None:
    url, services = served_app
    async with stream(url, "42") as client:
        await client.wait_events(1)
        sock = only(services)._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 500  # ms
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 16384
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_draining_waits_for_just_as_long_as_something_waits_in_this_process(
    redis_server: RedisServer,
) -> None:
    async with embedded(redis_server.url) as (url, services):
        client = stream(url, "42", receive_buffer=4096)
        await client.connect()
        await client.wait_events(1)
        open_ = only(services)
        assert open_.buffered() == 0
        async with asyncio.timeout(5):
            await open_._writer.drain()
        client.stall()
        while not open_.buffered():
            open_._write(b": " + b"x" * 10_000 + b"\n")
        draining = asyncio.create_task(open_._writer.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        client.flow()
        async with asyncio.timeout(5):
            await draining
        assert open_.buffered() == 0
        await client.close()


def test_a_client_that_left_while_it_was_asked_about_gets_no_stream() -> None:
    request = make_mocked_request("GET", "/notify")
    request.protocol.transport = None
    hub = Hub(_Nobody())
    stream = NotificationStream(StreamSettings(), hub, hub.enter("42"))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(_prepared(stream, request))


async def _prepared(stream: NotificationStream, request: web.BaseRequest) -> None:
    await stream.prepare(request)


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_a_client_that_leaves_while_the_application_sees_to_the_head_is_gone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """Its signals may await something; that is no error to be logged."""
    left = asyncio.Event()

    async def await_something(request: web.Request, response: web.StreamResponse) -> None:
        assert request.transport is not None
        getattr(request.transport, how)()
        await eventually(lambda: request.transport is None)
        left.set()

    async with embedded(
        redis_server.url, lambda app: app.on_response_prepare.append(await_something)
    ) as (url, services):
        with pytest.raises((ConnectionError, EOFError)):
            await stream(url, "42").connect()
        await left.wait()
        await eventually(lambda: len(services.hub) == 0)
    assert not [record for record in caplog.records if record.levelno >= 30]


class _Nobody:
    def want(self, recipient_id: str) -> None: ...
    def drop(self, recipient_id: str) -> None: ...


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
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """A unix socket has no TCP_USER_TIMEOUT."""
    app = web.Application()
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    setup(app, config(redis_server.url, stream=fast), authenticator=TokenIsUser())
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
        only(services).close(reason)
        only(services).close(CloseReason.DRAIN)  # the first one counts
        assert await client.wait_end() == "complete"
        last = client.events[-1]
        assert (last.event, json.loads(last.data)) == ("aionotify.expired", {"reason": reason})
        assert last.id == messages(client)[-1].id
    assert services.stats.closed == {reason: 1}


async def test_a_stream_that_is_being_opened_when_draining_begins_ends_with_it(
    served_app: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, services = served_app
    prepare = NotificationStream.prepare

    async def prepare_late(self: NotificationStream, request: web.BaseRequest) -> Any:
        services.hub.closed = True
        return await prepare(self, request)

    monkeypatch.setattr(NotificationStream, "prepare", prepare_late)
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
    redis_server: RedisServer,
) -> None:
    """Alone aiohttp would wait twice its shutdown_timeout, two minutes by default."""
    loop = asyncio.get_running_loop()
    clients = []
    async with embedded(redis_server.url) as (url, services):
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
    redis_server: RedisServer,
) -> None:
    async with (
        embedded(redis_server.url, stream={"buffer": 8192}) as (url, services),
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


async def test_it_streams_over_tls_and_notices_who_leaves(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    app = web.Application()
    fast = {"heartbeat": 0.2, "send_timeout": 0.5}
    setup(app, config(redis_server.url, stream=fast), authenticator=TokenIsUser())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    services = app[SERVICES]

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", runner.addresses[0][1], ssl=trusting
        )
        writer.write(b"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-42\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"aionotify.open")
        return reader, writer

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
        open_._write(b": " + b"x" * 50_000 + b"\n")
        await asyncio.sleep(0.01)
    await eventually(lambda: len(services.hub) == 0)
    writer.transport.abort()
    await runner.cleanup()
