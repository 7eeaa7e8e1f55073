"""A main host as a process of its own, so that what it costs the test costs the server nothing.

Run by `HostProcess` in the conftest, which speaks to it in lines of JSON. One on its standard input
has fields of `Behaviour`, or is ``{"down": true}``, ``{"up": true}`` or, for what was seen,
``{"forget": true}``; each is answered with an object of `Seen` on its standard output.
"""

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Behaviour:
    """How it answers. ``token-42`` is user ``42``, unless `answers` has something else for it.

    Attributes:
        delay: seconds before each answer.
        refused: tokens that get a 401.
        answers: the JSON for a token.
        raw: what is sent instead of any answer, in Latin-1; then the connection is closed.
        endless: what is sent again and again after `raw`.
        failing: each so manieth question gets a 500; 0 for none, 1 for all.
    """

    delay: float = 0.0
    refused: list[str] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    raw: str = ""
    endless: str = ""
    failing: int = 0


@dataclass
class Seen:
    """What it has seen: how many questions, at once at most, for each token; the latest head."""

    asked: int = 0
    most_at_once: int = 0
    about: dict[str, int] = field(default_factory=dict)
    head: str = ""


class Host:
    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.seen = Seen()
        self._at_once = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def drop(self) -> None:
        """Drop the connections there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self._at_once += 1
                self.seen.most_at_once = max(self.seen.most_at_once, self._at_once)
                try:
                    lasts = await self._answer(head, writer)
                finally:
                    self._at_once -= 1
                if not lasts:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> bool:
        """Answer a question; return whether the connection lasts."""
        how, seen = self.behaviour, self.seen
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        token = fields.get("Authorization", "").removeprefix("Bearer ")
        seen.asked += 1
        seen.about[token] = seen.about.get(token, 0) + 1
        seen.head = head
        status, body = self._verdict(token)
        if how.delay:
            await asyncio.sleep(how.delay)
        writer.write(how.raw.encode("latin-1"))
        while how.endless:
            writer.write(how.endless.encode("latin-1"))
            await writer.drain()
            await asyncio.sleep(0.001)
        if how.raw:
            return False
        answer = json.dumps(body)
        writer.write(
            f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n{answer}".encode()
        )
        return True

    def _verdict(self, token: str) -> tuple[int, object]:
        how = self.behaviour
        if how.failing and self.seen.asked % how.failing == 0:
            return 500, "out of order"
        if token in how.refused:
            return 401, {}
        if token in how.answers:
            return 200, how.answers[token]
        if token.startswith("token-"):
            return 200, {"user_id": token.removeprefix("token-")}
        return 401, {}


async def main(port: int) -> None:
    host, loop = Host(), asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    server = await asyncio.start_server(host.serve, "127.0.0.1", port, backlog=1024)
    async for line in orders:
        order: dict[str, Any] = json.loads(line)
        if order.pop("down", False):
            server.close()
            host.drop()
        elif order.pop("up", False):
            server = await asyncio.start_server(host.serve, "127.0.0.1", port, backlog=1024)
        elif order.pop("forget", False):
            host.seen = Seen()
        else:
            host.behaviour = Behaviour(**{**asdict(host.behaviour), **order})
        sys.stdout.write(json.dumps(asdict(host.seen)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
