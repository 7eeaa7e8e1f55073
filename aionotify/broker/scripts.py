"""Script calls of many callers in few round trips.

Thousands of streams that read their inboxes at once, or a producer that publishes in a loop, would
each cost a round trip and a connection. Calls that come while a batch is under way are collected
and make up the next one. One batch at a time is also what paces a storm: Redis is never asked for
more than a batch ahead.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from importlib import resources
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from aionotify.broker.connect import translate

_BATCH: Final = 64


class _Call(NamedTuple):
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | float, ...]
    reply: asyncio.Future[Any]
    sent: Callable[[], object]


class Script:
    """One of the package's Lua scripts.

    Args:
        client: gives the client; asked anew for each batch, since a private server's address is
            known only once it runs.
        name: its file in this package.
    """

    def __init__(self, client: Callable[[], Redis], name: str) -> None:
        self._client = client
        self._name = name
        self._source = resources.files(__package__).joinpath(name).read_bytes()
        self._sha = hashlib.sha1(self._source, usedforsecurity=False).hexdigest()
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    def call(
        self,
        keys: tuple[str, ...],
        args: tuple[str | bytes | int | float, ...],
        sent: Callable[[], object] = lambda: None,
    ) -> asyncio.Future[Any]:
        """The script's reply, in time. `sent` is called when the call goes off.

        The future raises BrokerUnavailable when Redis does not answer (a call that writes may
        have been carried out all the same) and BrokerRefused when it will not.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(keys, args, reply, sent))
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name=f"aionotify {self._name}")
        return reply

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        # The task ends when nothing is waiting, so an idle node has none.
        try:
            while self._waiting:
                size = min(_BATCH, len(self._waiting))
                await self._run([self._waiting.popleft() for _ in range(size)])
        finally:
            self._task = None

    async def _run(self, batch: list[_Call]) -> None:
        for call in batch:
            call.sent()
        batch = [call for call in batch if not call.reply.done()]  # the caller may have left
        try:
            replies = await self._execute(batch)
            unknown = [
                index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)
            ]
            if unknown:  # Redis has been restarted
                await self._client().script_load(self._source)
                again = await self._execute([batch[index] for index in unknown])
                for index, reply in zip(unknown, again, strict=True):
                    replies[index] = reply
        except (RedisError, OSError, TimeoutError) as error:
            replies = [error] * len(batch)
        except BaseException:
            for call in batch:
                call.reply.cancel()
            raise
        for call, reply in zip(batch, replies, strict=True):
            if call.reply.done():
                continue
            if isinstance(reply, Exception):
                call.reply.set_exception(translate(reply))
            else:
                call.reply.set_result(reply)

    async def _execute(self, batch: list[_Call]) -> list[Any]:
        if len(batch) == 1:
            keys, args = batch[0][:2]
            try:
                return [await self._client().evalsha(self._sha, len(keys), *keys, *args)]
            except NoScriptError as error:
                return [error]
        async with self._client().pipeline(transaction=False) as pipeline:
            for keys, args, *_ in batch:
                pipeline.evalsha(self._sha, len(keys), *keys, *args)
            return list(await pipeline.execute(raise_on_error=False))
