"""The server of the tests is a real process, and its end is seen."""

import signal

import aiohttp
import pytest

from tests.harness import MainHost, NotifyServer, RedisServer, free_port

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # each start takes a second


async def test_server_is_ready_when_it_has_started_and_ends_in_order(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    """Settings reach it, it answers, its logs are here, and SIGTERM gives exit code 0."""
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "log.format": "json",
        "cors.origins": ["https://app.example.com"],
    }
    async with NotifyServer(settings) as server:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/readyz", headers={"Origin": "https://app.example.com"}) as r,
        ):
            assert r.status == 200
            assert r.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert await server.terminate() == 0
    assert server.logs
    assert all(line.startswith("{") for line in server.logs)


async def test_server_can_be_started_without_being_ready(main_host: MainHost) -> None:
    """Without Redis it is alive, which is what some tests need; killed, it says so."""
    server = NotifyServer(
        {
            "redis.url": f"redis://127.0.0.1:{free_port()}",
            "auth.main_host.url": main_host.url,
        }
    )
    try:
        await server.start(until="/healthz")
        assert await server.kill() == -signal.SIGKILL
    finally:
        await server.aclose()


async def test_a_server_that_does_not_start_shows_its_logs() -> None:
    """The error of a wait for a process that has ended is what it wrote."""
    server = NotifyServer({"server.port": "many"})
    server.url = "http://127.0.0.1:1"
    try:
        with pytest.raises(AssertionError, match=r"(?s)ended with 2:.*server\.port"):
            await server.start()
    finally:
        await server.aclose()
