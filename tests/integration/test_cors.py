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


async def test_a_preflight_allows_what_tracing_sends_and_what_the_setting_adds(
    serve: Serve,
) -> None:
    server = await serve({"cors.origins": [SHOP], "cors.headers": ["X-Tenant"]})
    wanted = "authorization,x-request-id,traceparent,tracestate,x-tenant"
    headers = {"Origin": SHOP, "Access-Control-Request-Method": "GET"}
    answer = await ask(
        server, method="OPTIONS", headers={**headers, "Access-Control-Request-Headers": wanted}
    )
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(wanted.split(",")) <= set(allowed)
    assert not [line for line in server.logs if "refused" in line]
    other = {**headers, "Access-Control-Request-Headers": "x-tenant,x-csrf,x-b3"}
    await ask(server, method="OPTIONS", headers=other)
    refused = 'request header refused headers="x-csrf x-b3" path=/notify setting=cors.headers'
    await eventually(lambda: any(refused in line for line in server.logs))


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
@pytest.mark.parametrize("origins", [[], [SHOP]])
async def test_an_origin_that_is_refused_is_logged_with_the_setting_that_would_allow_it(
    serve: Serve, method: str, origins: list[str]
) -> None:
    server = await serve({"cors.origins": origins})
    refused = f"origin refused origin={OTHER} path=/notify setting=cors.origins"
    if method == "GET":  # while the stream is open: a browser ends it at once
        async with stream(server, "42", headers={"Origin": OTHER}):
            await eventually(lambda: any(refused in line for line in server.logs))
    else:
        await ask(server, method=method, headers={"Origin": OTHER})
        await eventually(lambda: any(refused in line for line in server.logs))


async def test_the_server_s_own_pages_and_the_module_refuse_nobody(serve: Serve) -> None:
    server = await serve()
    own = {"Origin": server.url}
    behind_proxy = {"Origin": "https://app.example", "Sec-Fetch-Site": "same-origin"}
    for headers in (own, behind_proxy):
        answer = await ask(server, "/notify/ticket", "POST", token="token-42", headers=headers)
        assert answer.status == 201
    answer = await ask(server, "/notify/client.js", headers={"Origin": OTHER})
    assert answer.status == 200
    async with stream(server, "42"):
        await eventually(lambda: any("stream opened" in line for line in server.logs))
    assert not [line for line in server.logs if "origin refused" in line]


async def test_without_configured_origins_there_is_nothing_to_see(serve: Serve) -> None:
    server = await serve()
    async with stream(server, "42", headers={"Origin": SHOP}) as client:
        assert not [name for name in client.headers if name.startswith("access-control")]
    answer = await ask(server, method="OPTIONS", headers={"Origin": SHOP})
    assert answer.status == 403
