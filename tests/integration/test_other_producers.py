"""The lines of docs/producers.rst that are for other languages, as they stand there."""

import json
from pathlib import Path

from tests.docs.snippets import arguments, snippet
from tests.harness import RedisServer, SSEClient
from tests.integration.conftest import Serve

REPOSITORY = Path(__file__).parents[2]


async def test_the_script_publishes_durably_from_any_language(
    serve: Serve, redis_server: RedisServer
) -> None:
    """What redis-cli would send arrives live, and at a client that comes back."""
    [_, _, script, *words] = arguments(snippet("docs/producers.rst", "redis-cli --eval"))
    comma = words.index(",")
    source = (REPOSITORY / script).read_text()
    server = await serve()
    async with SSEClient(f"{server.url}/notify", token="token-42") as client:
        [begun] = await client.wait_events(1)
        reply = redis_server.cli("EVAL", source, comma, *words[:comma], *words[comma + 1 :])
        assert list(reply[1:]) == [1, 0]
        live = (await client.wait_events(2))[-1]
        assert json.loads(live.data) == {"recipient_id": "42", "data": 1}
    where = f"{server.url}/notify?last_event_id={begun.id}"
    async with SSEClient(where, token="token-42") as again:
        assert (await again.wait_events(2))[-1] == live


async def test_a_plain_publish_says_how_many_nodes_listen(
    serve: Serve, redis_server: RedisServer
) -> None:
    line = snippet("docs/producers.rst", "redis-cli PUBLISH")
    server = await serve()
    async with SSEClient(f"{server.url}/notify", token="token-42") as client:
        await client.wait_events(1)
        assert redis_server.cli(*arguments(line)[1:]) == 1
        event = (await client.wait_events(2))[-1]
        assert (event.event, json.loads(event.data)["data"]) == ("order.shipped", {"order": 7})
