"""A producer in a process of its own, so that what it publishes does not depend on who is busy."""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Self

from aionotify import Publisher

EVERYONE = "*"


class Producer:
    """Publishes durable events with ascending numbers, from `start` to `stop`.

    Args:
        redis: its address.
        users: to one after the other.
        rate: events per second, to users.
        broadcasts: events per second, to everyone.

    Attributes:
        published: the number of events by recipient, once it has stopped.
    """

    def __init__(self, redis: str, users: Iterable[str], rate: float, broadcasts: float) -> None:
        self.published: Counter[str] = Counter()
        self._order = json.dumps([redis, list(users), rate, broadcasts]).encode()
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.deploy.producer"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._order + b"\n")
        assert await self._process.stdout.readline() == b"publishing\n"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        published, _ = await self._process.communicate(b"")
        self.published.update(json.loads(published))


async def _publish(
    redis: str, recipients: Iterable[str], rate: float, published: Counter[str]
) -> None:
    async with Publisher(redis) as publisher:
        due = time.monotonic()
        for recipient in recipients:
            number = published[recipient]
            await publisher.publish({"recipient_id": recipient, "number": number})
            published[recipient] += 1
            # What a busy machine has held up is not to become a burst.
            due = max(due + 1 / rate, time.monotonic() - 0.1)
            await asyncio.sleep(due - time.monotonic())


async def _produce() -> Counter[str]:
    published: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    redis, users, rate, broadcasts = json.loads(sys.stdin.readline())
    tasks = [
        asyncio.create_task(_publish(redis, itertools.cycle(users), rate, published)),
        asyncio.create_task(_publish(redis, itertools.repeat(EVERYONE), broadcasts, published)),
    ]
    sys.stdout.write("publishing\n")
    sys.stdout.flush()
    ended = loop.run_in_executor(None, sys.stdin.readline)
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(result, asyncio.CancelledError):
            raise RuntimeError("it has stopped by itself") from result
    return published


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_produce())))
