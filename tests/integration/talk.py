"""What a test says to a server and to Redis, and what it can see of the process."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from tests.harness import PATIENCE, NotifyServer, RedisServer, SSEClient, SSEEvent
from tests.harness.interrupts import interruptible

CHANNEL = "push_notifications"
TICKS = os.sysconf("SC_CLK_TCK")  # of CPU time, in a second
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"].startswith("application/json")
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error; checks that it is one of ours."""
        error = self.json["error"]
        assert error["message"]
        return str(error["code"])


async def ask(
    server: NotifyServer | str,
    path: str = "/notify",
    method: str = "GET",
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    data: bytes | None = None,
) -> Answer:
    """Send a request whose answer ends."""
    url = server if isinstance(server, str) else server.url
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session,
        session.request(method, url + path, headers=sent, data=BytesIO(data or b"")) as response,
    ):
        return Answer(response.status, response.headers, await response.read())


def stream(server: NotifyServer | str, user: str, query: str = "", **options: Any) -> SSEClient:
    """Return a client for the stream of `user`, not connected yet."""
    url = server if isinstance(server, str) else server.url
    return SSEClient(f"{url}/notify{query}", token=f"token-{user}", **options)


def publish(redis: RedisServer, event: Mapping[str, Any] | bytes | str) -> int:
    """Publish as any producer may, with plain PUBLISH; returns how many processes heard it."""
    message = event if isinstance(event, bytes | str) else json.dumps(event)
    return int(redis.cli("PUBLISH", CHANNEL, message))


def messages(client: SSEClient) -> list[SSEEvent]:
    """The events that somebody published, without what the server itself had to say."""
    return [event for event in client.events if not event.event.startswith("aionotify.")]


async def received(client: SSEClient, count: int, timeout: float = PATIENCE) -> list[Any]:
    """Return the first `count` published events, decoded, when they are there."""
    await client.wait_for(lambda _: len(messages(client)) >= count, timeout)
    return [json.loads(event.data) for event in messages(client)[:count]]


async def metric(server: NotifyServer | str, name: str, **labels: str) -> float:
    """Return a sample from /metrics."""
    text = (await ask(server, "/metrics")).body.decode()
    wanted = "".join(rf'(?=.*{key}="{value}")' for key, value in labels.items())
    found = re.search(rf"(?m)^{name}(?:\{{{wanted}.*\}})? (\S+)$", text)
    assert found, f"no {name} with {labels} in:\n{text}"
    return float(found[1])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process takes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


@asynccontextmanager
async def command(*argv: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``aionotify`` with these arguments and variables; end it if it has not ended by then."""
    process = await asyncio.create_subprocess_exec(
        *interruptible(sys.executable, "-m", "aionotify", *argv),
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
