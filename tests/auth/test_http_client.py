"""Whoever is asked over HTTP gives no answer, and each reason is told in words of its own."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aionotify.auth.http_client import Garbled, HttpClient, NoAnswer, TooLate
from tests.harness import free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DAY = datetime.timedelta(days=1)


@contextlib.asynccontextmanager
async def server(
    answer: bytes, tls: ssl.SSLContext | None = None, *, reset: bool = False
) -> AsyncIterator[int]:
    """Answer the first bytes of each connection with `answer`, and close it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if reset:
            at_once = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.write(answer)
        writer.close()

    started = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with started:
        yield started.sockets[0].getsockname()[1]


def certificate(directory: Path, *, name: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
    """Return a server's context with a certificate for `name` that ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address(name))
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 3 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    file.write_bytes(private + signed.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def read(response: aiohttp.ClientResponse) -> bytes:
    return await response.read()


@contextlib.asynccontextmanager
async def client(timeout: float = 5.0) -> AsyncIterator[HttpClient]:
    made = HttpClient(timeout, 10)
    try:
        yield made
    finally:
        await made.close()


async def reason(url: str, kind: type[NoAnswer] = NoAnswer, timeout: float = 5.0) -> str:
    async with client(timeout) as asking:
        with pytest.raises(NoAnswer) as caught:
            await asking.get(url, read)
    assert type(caught.value) is kind
    return str(caught.value)


async def test_a_host_that_is_not_there_is_told_in_the_kernel_s_and_the_resolver_s_words() -> None:
    assert await reason(f"http://127.0.0.1:{free_port()}") == "Connection refused"
    assert await reason("http://no-such-host.invalid") == (
        "its name does not resolve: Name or service not known"
    )
    assert await reason("http://a..b") == "its name cannot be the name of a host"


@pytest.mark.parametrize(
    ("given", "trusted", "said"),
    [
        ({}, False, "its certificate is not accepted: self-signed certificate"),
        ({"days": -1}, True, "its certificate is not accepted: certificate has expired"),
        (
            {"name": "127.0.0.2"},
            True,
            "its certificate is not accepted: IP address mismatch, certificate is not valid for '127.0.0.1'",  # noqa: E501
        ),
    ],
    ids=["not trusted", "expired", "of another name"],
)
async def test_what_is_wrong_with_a_certificate_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    trusted: bool,
    said: str,
) -> None:
    context = certificate(tmp_path, **given)  # type: ignore[arg-type]
    if trusted:  # aiohttp makes its context when it is imported
        ours = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ours)
    async with server(ANSWER, context) as port:
        assert await reason(f"https://127.0.0.1:{port}") == said


async def test_tls_and_plain_text_on_the_wrong_port_are_told(tmp_path: Path) -> None:
    async with server(ANSWER) as port:
        said = await reason(f"https://127.0.0.1:{port}")
        assert said.startswith("it speaks no TLS on that port: ")
    async with server(b"\x15\x03\x01\x00\x02\x02\x46") as port:  # as OpenSSL 1.1 and Go answer
        said = await reason(f"http://127.0.0.1:{port}", Garbled)
        assert said == "it speaks TLS on that port, and was asked without"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"", NoAnswer, "it closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Garbled, "its answer is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nX: %s\r\n\r\n" % (b"x" * 65537),
            Garbled,
            "a header of its answer is longer than 65536 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
            Garbled,
            "its answer is not HTTP, or ends too early",
        ),
    ],
    ids=["nothing", "not HTTP", "a long header", "cut short"],
)
async def test_an_answer_that_is_none_is_told(
    answer: bytes, kind: type[NoAnswer], said: str
) -> None:
    async with server(answer) as port:
        assert await reason(f"http://127.0.0.1:{port}", kind) == said


async def test_a_header_is_taken_that_other_clients_take_too() -> None:
    long = b"HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: 2\r\n\r\nok" % (b"x" * 60_000)
    async with server(long) as port, client() as asking:
        assert await asking.get(f"http://127.0.0.1:{port}", read) == b"ok"


async def test_a_connection_that_is_reset_is_told_in_the_kernel_s_words() -> None:
    async with server(b"", reset=True) as port:
        assert await reason(f"http://127.0.0.1:{port}") == "Connection reset by peer"


async def test_an_answer_that_never_comes_is_too_late() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as started:
        port = started.sockets[0].getsockname()[1]
        said = await reason(f"http://127.0.0.1:{port}", TooLate, timeout=0.1)
    assert said == "it did not answer in time"


@pytest.mark.parametrize("kept", [1, 5])
async def test_another_try_is_made_when_the_kept_connections_were_closed(kept: int) -> None:
    """By whoever closes them just as the next request comes, as many servers do."""
    answered: set[object] = set()
    together = asyncio.Barrier(kept)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n") and writer not in answered:
                if len(answered) < kept:  # all at once, so that there are several
                    await together.wait()
                answered.add(writer)
                writer.write(ANSWER)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as started:
        url = f"http://127.0.0.1:{started.sockets[0].getsockname()[1]}"
        async with client() as asking:
            await asyncio.gather(*(asking.get(url, read) for _ in range(kept)))
            assert len(answered) == kept
            assert await asking.get(url, read) == b"ok"
            assert len(answered) == kept + 1
