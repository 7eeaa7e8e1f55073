"""The guide's example for Celery, with a real worker and its broker."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.harness import MainHost, NotifyServer, RedisServer, SSEClient
from tests.harness.example import Example

CELERY = Path(sys.executable).with_name("celery")
REPORTS = """
from tasks import report
for month in ("June", "July", "June", "August"):
    report.delay("42", month)
"""


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_task_tells_its_user_from_a_forked_process_and_not_twice(
    own_redis: RedisServer, main_host: MainHost, tmp_path: Path
) -> None:
    """While a worker starts, its tasks wait in the broker."""
    settings = {"redis.url": own_redis.url, "auth.main_host.url": main_host.url}
    with Example("celery", tmp_path, own_redis.port) as example:
        # What is in the file is for people's ports; these settings are for ours.
        async with (
            NotifyServer(settings) as server,
            SSEClient(f"{server.url}/notify", token="token-42") as client,
        ):
            await client.wait_events(1)
            await asyncio.to_thread(example.python, REPORTS)
            example.start(
                CELERY, "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "2"
            )
            await client.wait_events(4)
            await asyncio.to_thread(example.python, REPORTS.replace("August", "September"))
            told = (await client.wait_events(5))[1:]
    assert {event.event for event in told} == {"report.ready"}
    months = [json.loads(event.data)["data"]["month"] for event in told]
    assert sorted(months[:3]) == ["August", "July", "June"]
    assert months[3:] == ["September"]
