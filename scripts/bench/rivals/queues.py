"""Plain aiohttp-sse: a queue for each stream, and one connection to Redis that fills them."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator

import uvloop
from aiohttp import web
from aiohttp_sse import sse_response
from redis.asyncio import Redis

Queues = defaultdict[str, set[asyncio.Queue[str]]]

_PING = 90  # seconds, as everybody's in the benchmark
_REDIS = web.AppKey("redis", Redis)
_QUEUES = web.AppKey("queues", Queues)


async def notify(request: web.Request) -> web.StreamResponse:
    user, queue = request.query["u"], asyncio.Queue[str]()
    queues = request.app[_QUEUES]
    queues[user].add(queue)
    try:
        async with sse_response(request, ping_interval=_PING) as response:
            while response.is_connected():
                await response.send(await queue.get())
    finally:
        queues[user].discard(queue)
    return response


async def listen(app: web.Application) -> None:
    """Put what Redis says into the queues of those it is for."""
    async with app[_REDIS].pubsub() as pubsub:
        await pubsub.psubscribe("user:*")
        async for message in pubsub.listen():
            if message["type"] != "pmessage":
                continue
            user, queues = message["channel"].removeprefix("user:"), app[_QUEUES]
            for concerned in list(queues.values()) if user == "*" else [queues[user]]:
                for queue in concerned:
                    queue.put_nowait(message["data"])


async def listening(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(listen(app))
    yield
    task.cancel()


def main(port: int, redis_port: int) -> None:
    app = web.Application()
    app[_REDIS] = Redis(port=redis_port, decode_responses=True)
    queues: Queues = defaultdict(set)
    app[_QUEUES] = queues
    app.router.add_get("/notify", notify)
    app.cleanup_ctx.append(listening)
    loop = uvloop.new_event_loop()
    web.run_app(
        app, host="127.0.0.1", port=port, backlog=2048, access_log=None, loop=loop, print=None
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
