"""Pages of other origins: the ones that are configured, and nobody else."""

import pytest

from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, publish, received, stream

SHOP, OTHER = "https://shop.example", "https://evil.example"
KEY = "a-publisher-key-of-ours"


@pytest.fixture
async def server(serve: Serve) -> NotifyServer:
    return await serve(
        {
            "cors.origins": [SHOP, "http://localhost:3000"],
            "admin.publish_keys": [KEY],
            "server.max_streams_per_user": 1,
        }
    )


async def test_a_page_of_a_configured_origin_may_read_the_stream(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    async with stream(server, "42", headers={"Origin": SHOP}) as client:
        assert client.headers["access-control-allow-origin"] == SHOP
        assert client.headers["access-control-allow-credentials"] == "true"
        assert client.headers["vary"] == "Origin"
        publish(redis_server, {"recipient_id": "42"})
        await received(client, 1)


async def test_other_origins_are_not_allowed_and_caches_know_the_difference(
    server: NotifyServer,
) -> None:
    for origin in (OTHER, "null", f"{SHOP}.evil.example", f"{SHOP}:8443", SHOP.upper()):
        headers = {"Origin": origin}
        async with stream(server, "42", headers=headers) as client:
            assert client.status == 200  # the token counts; the browser keeps it from the page
            assert "access-control-allow-origin" not in client.headers
            assert client.headers["vary"] == "Origin"
        await eventually(lambda: _free(server))


async def _free(server: NotifyServer) -> bool:
    return (await ask(server, method="GET", path="/metrics")).body.find(b"_streams 0.0") > 0


async def test_a_page_can_read_every_error(server: NotifyServer) -> None:
    origin = {"Origin": SHOP}
    async with stream(server, "42"):
        answers = [
            await ask(server, headers=origin),
            await ask(server, token="unknown", headers=origin),
            await ask(server, token="token-42", headers=origin),
            await ask(server, "/nowhere", headers=origin),
            await ask(server, method="POST", headers=origin),
            await ask(server, "/publish", "POST", headers=origin, token=KEY, data=b"{}"),
            await ask(server, "/publish", "POST", headers=origin, token=KEY, data=b" " * 1_048_577),
            await ask(server, method="HEAD", headers=origin),
        ]
    assert [answer.status for answer in answers] == [403, 401, 429, 404, 405, 400, 413, 403]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    for answer in (await ask(server, headers={"Origin": OTHER}), await ask(server)):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


async def test_a_preflight_needs_no_token_and_says_what_may_be_sent(server: NotifyServer) -> None:
    for path, methods in (
        ("/notify", {"GET", "HEAD"}),
        ("/notify/ticket", {"POST"}),
        ("/publish", {"POST"}),
        ("/streams/42", {"DELETE"}),
    ):
        headers = {
            "Origin": SHOP,
            "Access-Control-Request-Method": min(methods),
            "Access-Control-Request-Headers": "authorization,last-event-id",
        }
        answer = await ask(server, path, "OPTIONS", headers=headers)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == methods
        allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        # With credentials "*" would be a header of that name (Fetch Standard section 3.2.3).
        assert {"authorization", "content-type", "last-event-id", "cache-control"} <= set(allowed)
        assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_a_preflight_of_another_origin_is_refused(server: NotifyServer) -> None:
    headers = {"Origin": OTHER, "Access-Control-Request-Method": "GET"}
    answer = await ask(server, method="OPTIONS", headers=headers)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "Access-Control-Allow-Methods" not in answer.headers


async def test_without_configured_origins_there_is_nothing_to_see(serve: Serve) -> None:
    server = await serve()
    async with stream(server, "42", headers={"Origin": SHOP}) as client:
        assert not [name for name in client.headers if name.startswith("access-control")]
    answer = await ask(server, method="OPTIONS", headers={"Origin": SHOP})
    assert answer.status == 403
