"""Encrypted connections to a real Redis, whose certificates come and go."""

import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.tls import TLSContext
from aionotify.config import RedisConfig
from aionotify.errors import BrokerUnavailable, ConfigError
from tests.broker.connection.helpers import endpoint, published, write_certificate
from tests.harness import RedisServer, TcpProxy


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1."""
    file = tmp_path / "redis.pem"
    write_certificate(file)
    return file


def shown_with(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
async def proxy(redis_server: RedisServer, certificate: Path) -> AsyncIterator[TcpProxy]:
    """A Redis that shows that certificate."""
    async with TcpProxy(redis_server.port, tls=shown_with(certificate)) as proxy:
        yield proxy


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The contexts that are made to connect with."""
    contexts: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def watched(*args: object, **options: object) -> ssl.SSLContext:
        contexts.append(make(*args, **options))  # type: ignore[arg-type]
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", watched)
    return contexts


async def test_tls_is_used_and_the_server_has_to_prove_itself(
    proxy: TcpProxy, certificate: Path
) -> None:
    """With its certificate trusted it works; without, or under another name, it does not."""
    trusted = f"{proxy.port}?ssl_ca_certs={certificate}"
    async with endpoint(f"rediss://127.0.0.1:{trusted}") as made:
        await published(made, "channel")
    async with endpoint(f"rediss://localhost:{trusted}&ssl_check_hostname=false") as made:
        await published(made, "channel")
    for url in (f"rediss://127.0.0.1:{proxy.port}", f"rediss://localhost:{trusted}"):
        async with endpoint(url) as made:
            with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await made.subscriber()


async def test_all_connections_share_one_context(
    proxy: TcpProxy, certificate: Path, made: list[ssl.SSLContext]
) -> None:
    """To make one takes many times as long as to connect."""
    async with endpoint(f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={certificate}") as redis:
        await published(redis, "channel")
        await published(redis, "channel")
        assert proxy.accepted >= 4
    assert len(made) == 1


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_the_certificates_of_the_system_are_read_at_the_first_connection(
    proxy: TcpProxy, made: list[ssl.SSLContext]
) -> None:
    """And not by whoever only looks whether an address can be used."""
    async with endpoint(f"rediss://127.0.0.1:{proxy.port}") as redis:
        assert made == []
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await redis.subscriber()
        assert len(made) == 1


async def test_a_file_that_was_changed_is_taken_by_the_next_connection(
    redis_server: RedisServer,
    proxy: TcpProxy,
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that cannot be used leaves the one before in use, and is told once."""
    trusted = f"rediss://127.0.0.1:{{}}?ssl_ca_certs={certificate}"
    async with endpoint(trusted.format(proxy.port)) as redis:
        await (await redis.subscriber()).disconnect()
        right = certificate.read_bytes()
        for wrong in (b"", right[:300], None):
            certificate.unlink() if wrong is None else certificate.write_bytes(wrong)
            caplog.clear()
            for _ in range(2):
                await (await redis.subscriber()).disconnect()
            [told] = [each for each in caplog.records if each.levelno == logging.WARNING]
            assert told.message == "TLS files not usable"
        write_certificate(certificate)
        with pytest.raises(BrokerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await redis.subscriber()
        certificate.write_bytes(right)
        await (await redis.subscriber()).disconnect()


@pytest.mark.parametrize(
    "option", ["ssl_ca_certs=/nonexistent", "ssl_certfile=/nonexistent", "ssl_ca_certs={}"]
)
def test_files_that_cannot_be_used_are_refused_with_the_setting(
    option: str, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    url = f"rediss://a?{option.format(tmp_path / 'empty')}"
    with pytest.raises(ConfigError) as caught:
        Endpoint(RedisConfig(url=url))
    assert caught.value.problems["redis.url"].startswith(f"{option[:6]}")
    assert "cannot be used: " in caught.value.problems["redis.url"]


def test_another_file_and_a_changed_one_are_something_else(
    certificate: Path, tmp_path: Path
) -> None:
    """For which connections are made anew; the same file is no reason to."""
    options = {"ssl_ca_certs": str(certificate)}
    ours = TLSContext(options)
    assert not ours.adopt(TLSContext(options))
    write_certificate(tmp_path / "other.pem")
    assert ours.adopt(TLSContext({"ssl_ca_certs": str(tmp_path / "other.pem")}))
    assert ours.adopt(TLSContext(options))
    write_certificate(certificate)
    assert ours.adopt(TLSContext(options))
    assert not ours.adopt(TLSContext(options))
    assert not TLSContext({}).adopt(TLSContext({}))
