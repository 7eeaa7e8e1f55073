"""What is said of a main host and of keys that are not as they should be, and what to do."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aionotify.cli.check_auth import check_auth
from aionotify.config import AuthConfig, JWTConfig, MainHostConfig
from tests.broker.connection.helpers import write_certificate
from tests.harness import free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


@contextlib.asynccontextmanager
async def host(answer: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Give each request this answer; yield host and port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\n")
        writer.write(answer.encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


def status(line: str, body: str = "") -> str:
    return f"HTTP/1.1 {line}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"


@pytest.mark.parametrize(
    ("answer", "said", "advice"),
    [
        (status("302 Found"), "answered 302", "set auth.main_host.url to the address that it"),
        (status("404 Not Found"), "answered 404", "correct auth.main_host.path"),
        (status("500 Oh"), "answered 500", "find the reason in its log"),
        (status("400 Bad Request"), "answered 400", "have it answer 401 or 403 to a token that"),
        (status("200 OK", "<html>"), "answer is not JSON", "have it answer 401 or 403 to a token"),
        (status("200 OK", '{"user_id": 1}'), "accepts a made-up", "it must answer 401 or 403"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "its answer is not HTTP", "correct the port in auth.main_ho"),
    ],
    ids=["moved", "path", "ill", "refused", "page", "gullible", "another protocol"],
)
async def test_each_answer_of_a_main_host_has_its_own_advice(
    answer: str, said: str, advice: str
) -> None:
    """One thing to do about what it said."""
    async with host(answer) as place:
        found = await check_auth(AuthConfig(main_host=MainHostConfig(url=f"http://{place}")))
    assert found.status == "failed"
    assert said in found.found
    assert found.advice.startswith(advice)


@pytest.mark.parametrize("word", ["401 Unauthorized", "403 Forbidden"])
async def test_a_main_host_that_refuses_passes(word: str) -> None:
    """A refusal is what a made-up token has to get."""
    async with host(status(word)) as place:
        found = await check_auth(AuthConfig(main_host=MainHostConfig(url=f"http://{place}")))
    assert (found.status, found.advice) == ("ok", "")


async def test_each_reason_for_no_answer_has_its_own_advice(tmp_path: Path) -> None:
    """Of a main host and of a key set, with the setting that has the address."""
    certificate = tmp_path / "host.pem"
    write_certificate(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    refused = host("\x15\x03\x03\x00\x02\x02\x46")  # a TLS alert: there is no encryption
    async with (
        host(status("401 No")) as plain,
        host(status("401 No"), context) as encrypted,
        refused as alerting,
    ):
        for url, said, advice in (
            (f"http://127.0.0.1:{free_port()}", "Connection refused", "start it at that address"),
            ("http://no-such-host.invalid", "does not resolve", "correct the host in SETTING"),
            (f"https://{plain}", "it speaks no TLS on that port", "write http:// in SETTING"),
            (f"http://{alerting}", "it speaks TLS on that port", "write https:// in SETTING"),
            (f"https://{encrypted}", "its certificate is not accepted", "give it a certificate"),
        ):
            jwt = JWTConfig(jwks_url=url, algorithms=("RS256",))
            for setting, config in (
                ("auth.main_host.url", AuthConfig(main_host=MainHostConfig(url=url))),
                ("auth.jwt.jwks_url", AuthConfig(method="jwt", jwt=jwt)),
            ):
                found = await check_auth(config)
                assert found.status == "failed"
                assert said in found.found
                assert found.advice.startswith(advice.replace("SETTING", setting)), found


async def test_a_main_host_that_is_slow_is_told() -> None:
    """By the time that it is given, and not as one that is absent."""
    reading = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as slow:
        url = "http://{}:{}".format(*slow.sockets[0].getsockname())
        found = await check_auth(AuthConfig(main_host=MainHostConfig(url=url, timeout=0.1)))
        reading.set()
    assert "it did not answer in time" in found.found
    assert found.advice.startswith("find out what keeps it")
