"""When everybody comes back at once: what the main host has to bear."""

import asyncio

from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.storm import Storm, request
from tests.integration.conftest import Serve
from tests.integration.talk import metric

CLIENTS = 5000


async def storm(url: str, *requests: bytes) -> Storm:
    return await asyncio.to_thread(Storm(int(url.rpartition(":")[2]), requests).run)


async def test_5000_users_who_reconnect_are_5000_questions_of_which_few_are_put_at_a_time(
    serve: Serve, main_host: HostProcess
) -> None:
    """And when the main host does not survive that, those whom it knew come back all the same."""
    main_host.be(delay=0.02)
    server = await serve({"auth.main_host.max_concurrency": 40, "auth.main_host.cache_ttl": 0})
    clients = [request(token=f"token-{number}") for number in range(CLIENTS)]
    with await storm(server.url, *clients) as crowd:
        assert crowd.statuses == {200: CLIENTS}
        seen = main_host.seen
        assert seen.asked == len(seen.about) == CLIENTS
        assert seen.most_at_once == 40  # all that may be, and not one more
        assert await metric(server, "aionotify_streams") == CLIENTS

        main_host.down()
        again = clients[::10]
        with await storm(server.url, *again, request(token="token-new")) as back:
            assert back.statuses == {200: len(again), 504: 1}
        known = [
            await metric(server, "aionotify_auth_answers_total", source=source, outcome="accepted")
            for source in ("answer_store", "stale")  # their streams are open, so most are kept
        ]
        assert sum(known) == len(again)


async def test_5000_streams_of_one_token_are_one_question(
    serve: Serve, main_host: HostProcess
) -> None:
    main_host.be(delay=0.5)
    server = await serve({"server.max_streams_per_user": 0})
    with await storm(server.url, *[request(token="token-42")] * CLIENTS) as crowd:
        assert crowd.statuses == {200: CLIENTS}
        assert main_host.seen.asked == 1
