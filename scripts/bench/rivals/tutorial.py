"""FastAPI with sse-starlette, and a connection to Redis for each client, as tutorials have it."""

import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis
from sse_starlette import EventSourceResponse

_PING = 90  # seconds, as everybody's in the benchmark
_CONNECTIONS = 10_000  # to Redis, which takes no more unless it is told to


def application(redis: Redis) -> FastAPI:
    app = FastAPI()

    @app.get("/notify")
    async def notify(u: str) -> EventSourceResponse:
        async def events() -> AsyncIterator[dict[str, str]]:
            async with redis.pubsub() as pubsub:
                await pubsub.subscribe(f"user:{u}", "user:*")
                async for message in pubsub.listen():
                    if message["type"] == "message":
                        yield {"data": message["data"]}

        return EventSourceResponse(events(), ping=_PING)

    return app


def main(port: int, redis_port: int) -> None:
    redis = Redis(port=redis_port, decode_responses=True, max_connections=_CONNECTIONS)
    uvicorn.run(
        application(redis), host="127.0.0.1", port=port, log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
