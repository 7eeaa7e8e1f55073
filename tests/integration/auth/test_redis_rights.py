"""The Redis users that docs/security.rst proposes: they can do their work, and not much else."""

import json
import re
from pathlib import Path

import pytest
import redis

from tests.harness import RedisServer, SSEClient
from tests.integration.conftest import Serve
from tests.integration.talk import ask, received, stream

KEY = "publisher-key-0123456789"
SECURITY = Path(__file__).parents[3] / "docs" / "security.rst"


def user(name: str) -> list[str]:
    """The rules for a user, as documented."""
    found = re.search(rf"(?m)^    user {name} (.*(?:\n {{8}}.*)*)", SECURITY.read_text())
    assert found
    return found[1].replace("PASSWORD", "password").split()


async def test_a_server_can_do_all_its_work_with_the_rights_that_it_needs(
    serve: Serve, own_redis: RedisServer
) -> None:
    for name in ("aionotify", "producer"):
        own_redis.cli("ACL", "SETUSER", name, *user(name))
    address = f"password@127.0.0.1:{own_redis.port}/0"
    server = await serve(
        {
            "redis.url": f"redis://aionotify:{address}",
            "admin.publish_keys": [KEY],
            "server.drain": 1,
        }
    )
    ready = (await ask(server, "/readyz")).json
    assert all(check["ok"] for check in ready["checks"].values())
    ticket = (await ask(server, "/notify/ticket", "POST", token="token-42")).json["ticket"]
    async with SSEClient(f"{server.url}/notify?ticket={ticket}") as client:
        event = {"recipient_id": "42", "id": "once"}
        for _ in range(2):
            data = json.dumps(event).encode()
            assert (await ask(server, "/publish", "POST", token=KEY, data=data)).status == 202
        with redis.Redis.from_url(f"redis://producer:{address}") as producer:
            producer.publish("push_notifications", b'{"recipient_id": "42"}')
            for channel in ("aionotify:control", "aionotify:{42}"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    producer.publish(channel, b'{"revoke": "42"}')
        assert len(await received(client, 2)) == 2
        assert (await ask(server, "/presence?recipient_id=42", token=KEY)).json == {"42": True}
        await client.reconnect()  # the ticket is used up
        assert client.status == 401
    async with stream(server, "42") as client:
        assert (await ask(server, "/streams/42", "DELETE", token=KEY)).status == 202
        assert await client.wait_end() == "complete"
    async with stream(server, "42"):
        assert await server.terminate() == 0
    assert any("handed over tokens=1" in line for line in server.logs), server


async def test_a_server_has_no_rights_that_it_does_not_need(own_redis: RedisServer) -> None:
    own_redis.cli("ACL", "SETUSER", "aionotify", *user("aionotify"))
    own_redis.cli("SET", "theirs", "secret")
    with redis.Redis.from_url(f"redis://aionotify:password@127.0.0.1:{own_redis.port}") as client:
        for command in (
            *(("GET", "theirs"), ("SET", "theirs", "x"), ("PUBLISH", "theirs", "x")),
            *(("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("MONITOR",)),
            *(("EVAL", "return redis.call('GET', 'theirs')", 0), ("DEBUG", "SLEEP", 0)),
        ):
            with pytest.raises(redis.exceptions.ResponseError, match=r"permission|NOPERM|ACL"):
                client.execute_command(*command)
