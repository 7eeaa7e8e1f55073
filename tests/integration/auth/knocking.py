"""Clients that want to know whether they would be let in, and what they are told if not."""

import json
from dataclasses import dataclass

from tests.harness import NotifyServer, SSEClient


@dataclass(frozen=True)
class Reply:
    """The answer to somebody who wanted a stream."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an error."""
        return str(json.loads(self.body)["error"]["code"])

    @property
    def retry_after(self) -> int:
        """Seconds; whoever is not told any fails the test."""
        return int(self.headers["retry-after"])


async def knock(
    server: NotifyServer, token: str | None = None, query: str = "", **headers: str
) -> Reply:
    """Open a stream and leave at once. `headers` are written with underscores."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    async with SSEClient(f"{server.url}/notify{query}", token=token, headers=lines) as client:
        if client.status != 200:
            await client.wait_end()
        return Reply(client.status, client.headers, bytes(client.raw))
