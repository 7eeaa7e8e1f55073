"""The main host of the tests names users, fails on demand and counts."""

import asyncio

import aiohttp
import pytest

from tests.harness import MainHost, Mode, eventually


async def ask(host: MainHost, token: str) -> tuple[int, object]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{host.url}/api/v1/is_user_auth/", headers={"Authorization": f"Bearer {token}"}
        ) as response,
    ):
        return response.status, await response.json(content_type=None) if response.ok else None


async def test_main_host_knows_tokens_by_rule_and_by_name(main_host: MainHost) -> None:
    """``token-42`` is 42; others are as told; strangers are refused."""
    main_host.answers["gold"] = {"user_id": 7, "expires_in": 60}
    assert await ask(main_host, "token-42") == (200, {"user_id": "42"})
    assert await ask(main_host, "gold") == (200, {"user_id": 7, "expires_in": 60})
    assert await ask(main_host, "stranger") == (401, None)
    main_host.refused.add("token-42")
    assert await ask(main_host, "token-42") == (401, None)
    assert main_host.asked_about == {"token-42": 2, "gold": 1, "stranger": 1}
    assert main_host.asked[0].path == "/api/v1/is_user_auth/"
    assert main_host.most_in_flight == 1


async def test_main_host_fails_in_every_way(main_host: MainHost) -> None:
    """Refusing, broken, talking nonsense, down; then well again, on the same port."""
    main_host.mode = Mode.REFUSE
    assert (await ask(main_host, "token-1"))[0] == 401
    main_host.mode = Mode.ERROR
    assert (await ask(main_host, "token-1"))[0] == 500
    main_host.mode = Mode.NONSENSE
    with pytest.raises(ValueError, match="Expecting value"):
        await ask(main_host, "token-1")
    main_host.mode = Mode.DOWN
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(main_host, "token-1")
    main_host.mode = Mode.OK
    assert await ask(main_host, "token-1") == (200, {"user_id": "1"})


async def test_slow_is_slower_than_a_timeout(main_host: MainHost) -> None:
    """The answer comes after `delay`, later than somebody is ready to wait."""
    main_host.mode = Mode.SLOW
    main_host.delay = 30
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(0.05)) as session:
        with pytest.raises(TimeoutError):
            await session.get(main_host.url)


async def test_a_question_that_is_given_up_is_not_in_flight(main_host: MainHost) -> None:
    """Or the next one would seem to be asked beside it."""
    main_host.mode = Mode.SLOW
    main_host.delay = 30
    for _ in range(2):
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.get(main_host.url))
            await eventually(lambda: main_host.in_flight == 1)
            asking.cancel()
            await asyncio.wait([asking])
            await eventually(lambda: main_host.in_flight == 0)
    assert main_host.most_in_flight == 1
