"""Standard streams that are closed, full, or that nobody reads: the server serves all the same."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.harness import MainHost, RedisServer, SSEClient, eventually, free_port
from tests.harness.interrupts import interruptible

SHOW = """
import os, sys
from aionotify.process.standard_streams import open_closed
open_closed()
numbers = [os.open(os.devnull, os.O_RDONLY)]
ours = [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)]
os.write(int(sys.argv[1]), repr((ours, min(numbers) > 2, sys.stdin.read())).encode())
print("heard by nobody")
print("heard by nobody", file=sys.stderr)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_opened_next_does_not_take_the_place_of_a_closed_stream(closed: str) -> None:
    reading, writing = os.pipe()
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", SHOW, str(writing)]
    quiet = subprocess.DEVNULL
    done = subprocess.run(
        words, pass_fds=[writing], stdin=quiet, stdout=quiet, stderr=quiet, check=False
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        assert told.read() == "([0, 1, 2], True, '')"
    assert done.returncode == 0


@asynccontextmanager
async def serving(
    redis: RedisServer, main_host: MainHost, redirections: str, stderr: int | None = None
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    port = free_port()
    settings = {
        "server.port": port,
        "server.drain": 0,
        "redis.url": redis.url,
        "auth.main_host.url": main_host.url,
        "server.max_streams_per_user": 0,
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "aionotify", "serve", *flags]
    process = await asyncio.create_subprocess_exec(
        *interruptible("sh", "-c", f'exec "$@" {redirections}', "sh", *command), stderr=stderr
    )
    try:
        yield f"http://127.0.0.1:{port}/notify", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def delivers(redis: RedisServer, url: str) -> None:
    client = SSEClient(url, token="token-42")

    async def opens() -> bool:
        try:
            await client.connect()
        except OSError:
            return False
        return client.status == 200

    await eventually(opens)
    redis.cli("PUBLISH", "push_notifications", json.dumps({"recipient_id": "42", "n": 1}))
    await client.wait_for(lambda events: any('"n": 1' in each.data for each in events))
    await client.close()


@pytest.mark.parametrize("redirections", ["2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full"])
async def test_a_server_serves_and_ends_in_order_without_standard_streams(
    redis_server: RedisServer, main_host: MainHost, redirections: str
) -> None:
    async with serving(redis_server, main_host, redirections) as (url, process):
        await delivers(redis_server, url)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_a_server_whose_standard_error_nobody_reads_serves_and_ends_in_order(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    reading, writing = os.pipe()
    try:
        async with serving(redis_server, main_host, "", stderr=writing) as (url, process):
            await delivers(redis_server, url)
            for _ in range(10):  # 600 streams are more lines than a pipe takes
                clients = [SSEClient(url, token="token-7") for _ in range(60)]
                await asyncio.gather(*(client.connect() for client in clients))
                await asyncio.gather(*(client.close() for client in clients))
            await delivers(redis_server, url)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        os.close(reading)
        os.close(writing)
