"""What becomes of a crowd that connects in one moment to a server of one worker, and of two.

It is ``aionotify serve`` as it is installed, with its workers on one port. The crowd is in the
process that runs the benchmark: so many connections are being made before any is answered.
"""

import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession
from joserfc import jwt
from joserfc.jwk import OctKey

from scripts.bench.lab import Lab
from scripts.bench.processes import free_port, pss, tree
from scripts.bench.results import Result

_WORKERS = (1, 2)
_ROUNDS = 2  # each is long
_SECRET = "a secret that signs the tokens of a benchmark"
_PATIENCE = 60.0  # seconds
_SETTLED = 1.0  # seconds
_ANSWERED = "200"


async def storm(lab: Lab) -> Result:
    """As many clients as come back elsewhere, all in one moment, and gone in one moment."""
    users = lab.users(lab.options.resumed)
    result = Result("storm", f"{len(users):,} clients connect at once")
    key = OctKey.import_key(_SECRET)
    until = int(time.time()) + 3600
    tokens = [jwt.encode({"alg": "HS256"}, {"sub": user, "exp": until}, key) for user in users]
    for workers in _WORKERS:
        seconds, memory, gone, shares = [], [], [], []
        refused = 0
        for turn in range(min(_ROUNDS, lab.options.rounds)):
            lab.step(f"round {turn + 1}: {workers} workers")
            async with _server(lab, workers) as (pid, port):
                before = pss(pid)
                began = time.monotonic()
                clients = await _crowd(port, tokens)
                seconds.append(time.monotonic() - began)
                answers = Counter(client.answer for client in clients)
                refused += len(tokens) - answers[_ANSWERED]
                await asyncio.sleep(_SETTLED)
                memory.append((pss(pid) - before) / len(users) / 1024)
                shares.append(max(await _streams(port)) / len(users) * 100)
                began = time.monotonic()
                for client in clients:
                    client.leave()
                while sum(await _streams(port)):  # noqa: ASYNC110 - nobody would tell
                    await asyncio.sleep(0.02)
                gone.append(time.monotonic() - began)
        label = f"{workers} workers" if workers > 1 else "1 worker"
        result.add(f"{label}: until all are let in", seconds, "s")
        result.add(f"{label}: until all are gone", gone, "s")
        result.add(f"{label}: memory", memory, "KiB")
        result.add(f"{label}: the largest share", shares, "%")
        result.add(f"{label}: refused or dropped", refused, "clients", limit=0)
    return result


class _Client(asyncio.Protocol):
    """Asks for a stream as soon as it is connected; `answer` is the status, or what went wrong."""

    __slots__ = ("_request", "_transport", "answer", "answered")

    def __init__(self, token: str) -> None:
        self._request = f"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._transport: asyncio.WriteTransport | None = None
        self.answer = ""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def come(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_PATIENCE):
                await loop.create_connection(lambda: self, "127.0.0.1", port)
                await self.answered
        except (OSError, TimeoutError) as error:
            self.answer = repr(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's own is no subclass
        transport.write(self._request.encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._answer(data[9:12].decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer(repr(exc))

    def _answer(self, answer: str) -> None:
        if not self.answered.done():
            self.answer = answer
            self.answered.set_result(None)

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _crowd(port: int, tokens: list[str]) -> list[_Client]:
    clients = [_Client(token) for token in tokens]
    await asyncio.gather(*(client.come(port) for client in clients))
    return clients


@asynccontextmanager
async def _server(lab: Lab, workers: int) -> AsyncIterator[tuple[int, int]]:
    """The process id and the port of a server, all workers of which serve."""
    port = free_port()
    settings = {
        "SERVER__PORT": str(port),
        "SERVER__WORKERS": str(workers),
        "REDIS__URL": lab.redis_url,
        "AUTH__METHOD": "jwt",
        "AUTH__JWT__KEY": _SECRET,
        "AUTH__JWT__ALGORITHMS": '["HS256"]',
        "LOG__LEVEL": "warning",
    }
    environ = {f"AIONOTIFY_{name}": value for name, value in settings.items()}
    words = [sys.executable, "-m", "aionotify", "serve"]
    process = await asyncio.create_subprocess_exec(*words, env=os.environ | environ)
    try:
        async with asyncio.timeout(_PATIENCE):
            while len(await _streams(port)) < workers:  # noqa: ASYNC110 - nobody would tell
                await asyncio.sleep(0.05)
        yield process.pid, port
    finally:
        for pid in tree(process.pid):
            os.kill(pid, 9)  # in order it could take seconds
        await process.wait()


async def _streams(port: int) -> list[float]:
    """How many streams each worker has, as its metrics tell."""
    try:
        async with (
            ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            text = await answer.text()
    except OSError:
        return []
    return [float(each) for each in re.findall(r"(?m)^aionotify_streams(?:{.*})? (\S+)$", text)]
