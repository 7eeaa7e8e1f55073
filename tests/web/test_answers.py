"""Answers to what goes wrong: JSON of one shape, and never two answers to one request."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from aionotify import AuthError, AuthFailed, AuthUnavailable, Identity
from aionotify.broker.inbox import Inbox
from tests.embedded import TokenIsUser, embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import ask, stream


class Failing:
    """An authenticator that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def authenticate(self, request: web.Request) -> Identity:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AuthFailed("no", retry_after=2.4), 502, "auth_failed"),
        (web.HTTPUnauthorized(), 401, "unauthorized"),
        (web.HTTPTooManyRequests(), 429, "too_many_requests"),
        (RuntimeError("token-secret"), 500, "internal_error"),
        (TimeoutError(), 500, "internal_error"),
    ],
)
async def test_an_error_of_an_authenticator_becomes_an_answer(
    redis_server: RedisServer,
    error: Exception,
    status: int,
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with embedded(redis_server.url, authenticator=Failing(error)) as (url, services):
        answer = await ask(url)
        assert (answer.status, answer.code) == (status, code)
        assert b"secret" not in answer.body
        assert len(services.hub) == 0
    assert ("request failed" in caplog.text) == (status == 500)


async def test_a_redirect_of_the_applications_stays_one(redis_server: RedisServer) -> None:
    found = Failing(web.HTTPFound("/healthz"))
    async with embedded(redis_server.url, authenticator=found) as (url, _):
        assert (await ask(url)).json == {"status": "ok"}


@pytest.mark.parametrize("after", [0.4, 2.5, 119.6])
async def test_a_pause_is_told_in_whole_seconds_and_never_none(
    redis_server: RedisServer, after: float
) -> None:
    failing = Failing(AuthFailed("no", retry_after=after))
    async with embedded(redis_server.url, authenticator=failing) as (url, _):
        assert int((await ask(url)).headers["Retry-After"]) == max(1, round(after))


@pytest.mark.parametrize("error", [AuthFailed("no"), AuthUnavailable("no")])
async def test_an_outage_of_an_authenticator_is_told_with_when_to_come_back(
    redis_server: RedisServer, error: AuthError
) -> None:
    """An authenticator of somebody's own need not think of it."""
    async with embedded(redis_server.url, authenticator=Failing(error)) as (url, _):
        assert (await ask(url)).headers["Retry-After"] == "1"


async def test_a_stream_that_fails_is_cut_and_no_second_answer_is_written_into_it(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Inbox, recipient_id: str, after: int | None) -> Any:
        raise ValueError("a bug of ours")

    async with embedded(redis_server.url) as (url, services):
        async with stream(url, "42") as client:
            await eventually(lambda: services.hub.everyone.newest)
            monkeypatch.setattr(Inbox, "read", broken)
            services.hub.lost()
            services.hub.confirmed("*")
            services.hub.confirmed("42")
            assert await client.wait_end() in ("cut", "reset")
            assert b"HTTP/1.1" not in client.raw
        monkeypatch.undo()
        assert len(services.hub) == 0
        assert services.stats.closed == {"failed": 1}
    assert "a bug of ours" in caplog.text


@pytest.mark.parametrize("moment", ["authenticating", "opening"])
async def test_a_client_that_leaves_before_its_answer_is_nothing_to_report(
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    moment: str,
) -> None:
    """Without handler_cancellation nobody tells the handler, so it finds out at the end."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(TokenIsUser):
        async def authenticate(self, request: web.Request) -> Identity:
            if moment == "authenticating":
                reached.set()
                await go_on.wait()
            return await super().authenticate(request)

    newest = Inbox.newest

    async def slow(self: Inbox, recipient_ids: Sequence[str]) -> Any:
        reached.set()
        await go_on.wait()
        return await newest(self, recipient_ids)

    if moment == "opening":
        monkeypatch.setattr(Inbox, "newest", slow)
    async with embedded(redis_server.url, authenticator=Slow()) as (url, services):
        client = SSEClient(f"{url}/notify", token="token-42")
        connecting = asyncio.create_task(client.connect())
        await reached.wait()
        client.reset()
        await asyncio.wait([connecting])
        assert connecting.exception() is not None
        go_on.set()
        await eventually(lambda: len(services.hub) == 0 and not services.hub.streams())
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def test_a_request_is_counted_by_why_it_was_refused(redis_server: RedisServer) -> None:
    async with embedded(redis_server.url) as (url, services):
        await ask(url)
        await ask(url, method="POST")
        assert services.stats.refused == {"credentials_missing": 1, "method_not_allowed": 1}
