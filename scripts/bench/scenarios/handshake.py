"""What it costs to open a stream, by how its user is known, beside a bare aiohttp-sse response.

The main host is a real one, in the process that runs the benchmark.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from joserfc import jwt
from joserfc.jwk import OctKey

from scripts.bench.control import Child
from scripts.bench.lab import REQUEST, Lab
from scripts.bench.load import Load
from scripts.bench.results import Result
from scripts.bench.server import Usage

_BEARER = "GET /notify HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {}\r\n\r\n"
_TICKET = "GET /notify?ticket={} HTTP/1.1\r\nHost: bench\r\n\r\n"
_SECRET = "a secret that signs the tokens of a benchmark"
_TARGET = 1.5
_TIMES = (
    4  # as many rounds as are asked for: what opening costs varies more than what delivering does
)
_BARE = "bare aiohttp-sse"
_CACHED = "main host, cached"


@dataclass(slots=True)
class _Kind:
    """One way to open streams, and what each round of it has cost.

    Attributes:
        port: of the application that is asked.
        values: for each stream what tells it apart, in `request`.
        beside: whether the users of the streams have another stream each.
    """

    port: int
    request: str
    values: list[str]
    beside: bool = False
    cpu: list[float] = field(default_factory=list)  # µs per stream
    rate: list[float] = field(default_factory=list)  # streams per second


async def handshake(lab: Lab) -> Result:
    """Streams opened at once, each of another user."""
    count, rounds = lab.options.handshakes, lab.options.rounds * _TIMES
    result = Result("handshake", f"Opening {count:,} streams, {rounds} times")
    users = lab.users(count)
    issued: list[float] = []
    async with lab.processes() as (server, load), _main_host() as main_host:
        kinds = await _kinds(lab, server, main_host, users)
        await lab.open(server, load, kinds[_CACHED].port, users, _BEARER)  # fills the cache
        await lab.close(server, load)
        for turn in range(rounds):
            for name, kind in kinds.items():
                lab.step(f"round {turn + 1}: {name}")
                if kind.request is _TICKET:
                    before = await server.ask(Usage, "tidy")
                    kind.values = await _tickets(kind.port, users)
                    after = await server.ask(Usage, "usage")
                    issued.append((after.cpu - before.cpu) / count * 1e6)
                await _round(lab, server, load, kind)
    bare = kinds[_BARE].cpu
    for name, kind in kinds.items():
        result.add(f"{name}: CPU per handshake", kind.cpu, "µs")
        result.add(f"{name}: handshakes", kind.rate, "/s")
    result.add("ticket issued: CPU", issued, "µs")
    for name, kind in kinds.items():
        if name != _BARE:
            limit = _TARGET if name == _CACHED else None
            result.add_ratio(f"{name} / {_BARE}", kind.cpu, bare, limit)
    return result


async def _kinds(lab: Lab, server: Child, main_host: str, users: list[str]) -> dict[str, _Kind]:
    async def serve(name: str, *, ask: bool = True, **auth: Any) -> int:
        return await server.ask(int, "serve", name=name, config=lab.config(auth=auth), ask=ask)

    cached = await serve("cached", main_host={"url": main_host, "cache_ttl": 3600})
    asked = await serve("asked", main_host={"url": main_host, "cache_ttl": 0})
    believed = await serve("believed", ask=False)
    verified = await serve("jwt", method="jwt", jwt={"key": _SECRET, "algorithms": ["HS256"]})
    key, expiry = OctKey.import_key(_SECRET), int(time.time()) + 3600
    tokens = [jwt.encode({"alg": "HS256"}, {"sub": u, "exp": expiry}, key) for u in users]
    return {
        _BARE: _Kind(await server.ask(int, "serve_bare"), REQUEST, users),
        "no authentication": _Kind(believed, REQUEST, users),
        _CACHED: _Kind(cached, _BEARER, users),
        "main host, cached, second stream of each": _Kind(cached, _BEARER, users, beside=True),
        "main host, asked each time": _Kind(asked, _BEARER, users),
        "JWT (HS256)": _Kind(verified, _BEARER, tokens),
        "ticket": _Kind(cached, _TICKET, []),
    }


async def _round(lab: Lab, server: Child, load: Load, kind: _Kind) -> None:
    beside = 0
    if kind.beside:
        beside = len(kind.values)
        await lab.open(server, load, kind.port, kind.values, kind.request)
    before = await server.ask(Usage, "tidy")
    opened, after = await lab.open(
        server, load, kind.port, kind.values, kind.request, beside=beside
    )
    kind.cpu.append((after.cpu - before.cpu) / len(kind.values) * 1e6)
    kind.rate.append(len(kind.values) / opened)
    await lab.close(server, load)


async def _tickets(port: int, users: list[str]) -> list[str]:
    async with ClientSession(connector=TCPConnector(limit=32)) as session:

        async def ticket(user: str) -> str:
            headers = {"Authorization": f"Bearer {user}"}
            url = f"http://127.0.0.1:{port}/notify/ticket"
            async with session.post(url, headers=headers) as response:
                response.raise_for_status()
                issued: str = (await response.json())["ticket"]
                return issued

        return list(await asyncio.gather(*map(ticket, users)))


@asynccontextmanager
async def _main_host() -> AsyncIterator[str]:
    """A main host where a token is the name of its user."""

    async def whose(request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return web.json_response({"user_id": token})

    app = web.Application()
    app.router.add_get("/{path:.*}", whose)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
