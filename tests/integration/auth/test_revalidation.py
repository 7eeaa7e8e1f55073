"""An open stream lasts as long as its token, and no failure of the main host's ends it."""

import asyncio
import json
import time

from tests.auth.jwt_tokens import SECRET, claims, forge
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.auth.storm import Storm, request
from tests.integration.conftest import BOTH_WAYS, Serve
from tests.integration.talk import metric, publish, received, stream

OFTEN = {"auth.revalidate": 1, "auth.main_host.cache_ttl": 0, "auth.main_host.timeout": 0.2}


async def ended_by(client: SSEClient) -> str:
    """Why the server ended the stream, as it told the client."""
    assert await client.wait_end() == "complete"
    assert client.events[-1].event == "aionotify.expired"
    return str(json.loads(client.events[-1].data)["reason"])


@BOTH_WAYS
async def test_only_a_refusal_ends_a_stream(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    server = await serve(OFTEN)

    async def failures() -> float:
        labels = {"outcome": "failed"}, {"outcome": "not_asked"}
        counted = [
            await metric(server, "aionotify_auth_answers_total", source="main_host", **each)
            for each in labels
        ]
        return sum(counted)

    async with stream(server, "42") as client:
        for behaviour in ({"failing": 1}, {"raw": "nonsense"}, {"raw": "", "delay": 5}, "down"):
            before = await failures()
            if isinstance(behaviour, dict):
                main_host.be(**{"failing": 0, "raw": "", **behaviour})
            else:
                main_host.down()

            async def asked_in_vain(before: float = before) -> bool:
                return await failures() > before

            await eventually(asked_in_vain)
            assert client.end is None
        publish(redis_server, {"recipient_id": "42", "n": 1})
        assert await received(client, 1)

        main_host.be(delay=0, refused=["token-42"])
        main_host.up()
        # As soon as it is asked, which the breaker may put off a little.
        assert await ended_by(client) == "token_refused"
        assert (await knock(server, "token-42")).status == 401


async def test_a_token_that_is_somebody_elses_now_ends_the_stream(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve(OFTEN)
    async with stream(server, "42") as client, stream(server, "43") as other:
        main_host.be(answers={"token-42": {"user_id": "43"}})
        assert await ended_by(client) == "token_refused"
        assert other.end is None


@BOTH_WAYS
async def test_a_token_whose_end_is_known_ends_the_stream_at_that_time(
    serve: Serve, main_host: HostProcess
) -> None:
    main_host.be(answers={"short": {"user_id": 42, "expires_in": 1.5}})
    server = await serve()
    asked = time.monotonic()
    async with SSEClient(f"{server.url}/notify", token="short") as client:
        assert await ended_by(client) == "token_expired"
        assert 1.4 < time.monotonic() - asked < 2.5


async def test_a_jwt_ends_the_stream_when_it_expires(serve: Serve, main_host: HostProcess) -> None:
    settings = {"auth.method": "jwt", "auth.jwt.key": SECRET, "auth.jwt.algorithms": ["HS256"]}
    server = await serve({**settings, "auth.jwt.leeway": 0})
    expires = int(time.time()) + 2
    token = forge({"alg": "HS256"}, claims(sub="42", exp=expires), SECRET.encode())
    async with SSEClient(f"{server.url}/notify", token=token) as client:
        assert client.status == 200
        assert await ended_by(client) == "token_expired"
        assert expires - 0.1 < time.time() < expires + 1
    assert (await knock(server, token)).status == 401
    assert main_host.seen.asked == 0


async def test_many_streams_do_not_ask_all_at_once(serve: Serve, main_host: HostProcess) -> None:
    server = await serve(OFTEN)
    tokens = [request(token=f"token-{number}") for number in range(300)]
    with Storm(int(server.url.rpartition(":")[2]), tokens) as crowd:
        await asyncio.to_thread(crowd.run)
        main_host.be(delay=0.05)
        main_host.forget()
        await eventually(lambda: main_host.seen.asked >= 300)
        assert 1 < main_host.seen.most_at_once <= 32
