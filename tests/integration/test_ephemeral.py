"""Ephemeral events between nodes: by the shared channel, and by the recipient's own."""

import json

from tests.harness import NotifyServer, RedisServer
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, received, stream

KEY = "publisher-key-0123456789"


async def test_an_ephemeral_event_reaches_its_user_and_no_other_node(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Published over HTTP at any node. By plain PUBLISH all hear it, and those drop it who have no
    stream of its user.
    """
    settings = {"redis.url": redis_server.url, "admin.publish_keys": [KEY]}
    here, there = await serve(settings), await serve(settings)
    async with stream(here, "42") as client, stream(here, "7") as other, stream(there, "7"):
        for number, recipients in enumerate(["42", ["42", "7"], "*"]):
            event = json.dumps({"recipient_id": recipients, "data": number})
            path = "/publish?ephemeral=true"
            answer = await ask(there, path, "POST", token=KEY, data=event.encode())
            assert (answer.status, answer.json["online"]) == (202, True)
        assert [event["data"] for event in await received(client, 3)] == [0, 1, 2]
        assert [event["data"] for event in await received(other, 2)] == [1, 2]
        assert await _counted(there) == (2, 0)
        event = json.dumps({"recipient_id": "42", "data": 3})
        redis_server.cli("PUBLISH", "push_notifications", event)
        assert [event["data"] for event in await received(client, 4)] == [0, 1, 2, 3]
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": "*"}')
        await received(other, 3)
        assert await _counted(here) == (6, 0)
        assert await _counted(there) == (4, 1)


async def _counted(server: NotifyServer) -> tuple[float, float]:
    """Ephemeral events heard, and those of them that were for users of other nodes."""
    return (
        await metric(server, "aionotify_events_received_total", kind="ephemeral"),
        await metric(server, "aionotify_events_dropped_total", reason="no_stream"),
    )
