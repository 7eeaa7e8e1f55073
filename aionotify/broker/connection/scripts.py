"""Script calls of many callers in few round trips.

Thousands of streams that read their inboxes at once, or a producer that publishes in a loop, would
each cost a round trip and a connection. Calls that come while a batch is under way are collected
and make up the next one. One batch at a time is also what paces a storm: Redis is never asked for
more than a batch ahead.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any, Final, NamedTuple

from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aionotify.broker.connection.endpoint import LOST, translate
from aionotify.broker.connection.pipeline import Command, Execute

_BATCH: Final = 64
_SILENCE: Final = (RedisTimeoutError, TimeoutError)


class _Call(NamedTuple):
    keys: tuple[str, ...]
    args: tuple[str | bytes | int | float, ...]
    reply: asyncio.Future[Any]


def source(name: str) -> str:
    """Return the text of one of the package's scripts."""
    return resources.files("aionotify.broker").joinpath(name).read_text("utf-8")


class Script:
    """One of the package's Lua scripts.

    Args:
        execute: carries out commands.
        name: its file in this package.
        kept: awaited before a batch is said to have been carried out; raises a BrokerError when
            that is not certain after all.
    """

    def __init__(
        self,
        execute: Execute,
        name: str,
        kept: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._execute_all = execute
        self._kept = kept
        self._name = name
        self._source = source(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()
        self._waiting: deque[_Call] = deque()
        self._task: asyncio.Task[None] | None = None

    def call(
        self,
        keys: tuple[str, ...],
        args: tuple[str | bytes | int | float, ...],
    ) -> asyncio.Future[Any]:
        """The script's reply, in time.

        The future raises BrokerUnavailable when Redis does not answer (a call that writes may
        have been carried out all the same) and BrokerRefused when it will not.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(keys, args, reply))
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
        batch = [call for call in batch if not call.reply.done()]  # the caller may have left
        if not batch:
            return
        try:
            # Redis may have been restarted. Of several calls the first brings the script along:
            # were it missing for some only, since somebody loads it just then, these would be
            # carried out after the others.
            replies = await self._execute(batch, bring=len(batch) > 1)
            while missing := [
                i for i, each in enumerate(replies) if isinstance(each, NoScriptError)
            ]:
                again = await self._execute([batch[i] for i in missing], bring=True)
                for i, reply in zip(missing, again, strict=True):
                    replies[i] = reply
            replies = await self._confirmed(replies)
        except BaseException:
            for call in (*batch, *self._waiting):
                call.reply.cancel()
            raise
        for call, reply in zip(batch, replies, strict=True):
            _settle(call.reply, reply)
        if all(isinstance(reply, Exception) and _is_silence(reply) for reply in replies):
            # Who waits behind these would be kept as long again, one batch after the other.
            self._give_up(replies[0])

    async def _confirmed(self, replies: list[Any]) -> list[Any]:
        if self._kept is None or all(isinstance(reply, Exception) for reply in replies):
            return replies
        try:
            await self._kept()
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            return [reply if isinstance(reply, Exception) else error for reply in replies]
        return replies

    def _give_up(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            _settle(call.reply, error)

    async def _execute(self, batch: list[_Call], *, bring: bool) -> list[Any]:
        """For each call its reply, or the error in its place."""
        commands: list[Command] = []
        for keys, args, _ in batch:
            command, script = ("EVAL", self._source) if bring else ("EVALSHA", self._sha)
            commands.append((command, script, len(keys), *keys, *args))
            bring = False
        try:
            return await self._execute_all(commands)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            return [error] * len(batch)


def _is_silence(error: Exception) -> bool:
    return isinstance(error, _SILENCE) or isinstance(error.__cause__, _SILENCE)


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, LOST):
        error = translate(reply)
        error.__cause__ = reply
        future.set_exception(error)
    elif isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
        return
    future.exception()  # looked at: whoever asked may have left by now
