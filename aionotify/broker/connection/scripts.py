"""Script calls of many callers in few round trips.

Thousands of streams that read their inboxes at once, or a producer that publishes in a loop, would
each cost a round trip and a connection. One batch at a time is also what paces a storm: Redis is
never asked for more than a batch ahead.
"""

import asyncio
import functools
import hashlib
import itertools
import operator
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aionotify import tasks
from aionotify.batcher import Batcher
from aionotify.broker.connection.endpoint import LOST, translate
from aionotify.broker.connection.pipeline import Command, Execute
from aionotify.portions import portions

_BATCH: Final = 64  # calls
_BATCH_IN_ORDER: Final = 128  # calls of one caller; some milliseconds of Redis
_IN_FLIGHT: Final = 2  # of these batches: while Redis works on one, the next is made
_BATCH_BYTES: Final = 1 << 20  # of words that are made to be sent; they are copied some four times
_SILENCE: Final = (RedisTimeoutError, TimeoutError)


Words = tuple[str | bytes | int | float, ...]
"""Of a call, as EVAL has them: the number of keys, the keys, the arguments."""


@dataclass(slots=True, eq=False)  # the same call twice is two calls
class _Call:
    words: Words | Callable[[], Words]
    size: int = 0


_size = operator.attrgetter("size")


@functools.cache  # for a reload: by then the one-file binary may have lost its files
def source(name: str) -> str:
    """Return one of the package's scripts as it is sent: without its comments, half of its text.

    Each batch brings one along, and Redis makes a hash of it.
    """
    text = resources.files("aionotify.broker").joinpath(name).read_text("utf-8")
    lines = (line.strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line and not line.startswith("--"))


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
        self._source = source(name)
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()
        self._batcher: Batcher[_Call, Any] = Batcher(
            self._run, name=f"aionotify {name}", at_most=_BATCH
        )

    def call(self, keys: tuple[str, ...], args: Words) -> asyncio.Future[Any]:
        """The script's reply, in time.

        The future raises BrokerUnavailable when Redis does not answer (a call that writes may
        have been carried out all the same) and BrokerRefused when it will not.
        """
        return self._batcher.submit(_Call((len(keys), *keys, *args)))

    def call_lazily(self, words: Callable[[], Words], size: int) -> asyncio.Future[Any]:
        """The same for a call whose words are made when it is sent: in line, it does not hold them.

        Args:
            size: about how many bytes they will be.
        """
        return self._batcher.submit(_Call(words, size))

    async def call_in_order(self, calls: Iterable[tuple[Words, int]]) -> list[Any]:
        """The replies to calls, each with its size in bytes, or the BrokerErrors in their places.

        Some are sent while Redis works on those before. If a connection is lost meanwhile, calls
        may be carried out though others before them were not.
        """
        replies: list[Any] = []
        under_way: deque[asyncio.Task[list[Any]]] = deque()
        try:
            made = itertools.starmap(_Call, calls)
            for batch in portions(made, _BATCH_IN_ORDER, _size, _BATCH_BYTES):
                if len(under_way) == _IN_FLIGHT:
                    replies += await under_way.popleft()
                under_way.append(asyncio.create_task(self._run(batch), name="aionotify calls"))
                await asyncio.sleep(0)  # it is on its way before the next is made
            while under_way:
                replies += await under_way.popleft()
        finally:
            await tasks.cancelled(under_way)
        return replies

    async def close(self) -> None:
        """Wait for the calls that are under way."""
        await self._batcher.close()

    async def _run(self, batch: list[_Call]) -> list[Any]:
        replies: list[Any] = []
        last: list[Any] = []
        for part in portions(batch, len(batch), _size, _BATCH_BYTES):
            # One silence is enough to wait for.
            last = last[-1:] * len(part) if _silent(last) else await self._run_part(part)
            replies += last
        replies = [_translated(reply) for reply in await self._confirmed(replies)]
        if _silent(replies):
            # Who waits behind these would be kept as long again, one batch after the other.
            self._batcher.give_up(replies[0])
        return replies

    async def _run_part(self, batch: list[_Call]) -> list[Any]:
        # Redis may have been restarted. Of several calls the first brings the script along: were it
        # missing for some only, since somebody loads it just then, these would be carried out
        # after the others.
        replies = await self._execute(batch, bring=len(batch) > 1)
        while missing := [i for i, each in enumerate(replies) if isinstance(each, NoScriptError)]:
            again = await self._execute([batch[i] for i in missing], bring=True)
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        return replies

    async def _confirmed(self, replies: list[Any]) -> list[Any]:
        if self._kept is None or all(isinstance(reply, Exception) for reply in replies):
            return replies
        try:
            await self._kept()
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            return [reply if isinstance(reply, Exception) else error for reply in replies]
        return replies

    async def _execute(self, batch: list[_Call], *, bring: bool) -> list[Any]:
        """For each call its reply, or the error in its place."""
        commands: list[Command] = []
        for call in batch:
            command, script = ("EVAL", self._source) if bring else ("EVALSHA", self._sha)
            words = call.words
            commands.append((command, script, *(words() if callable(words) else words)))
            bring = False
        try:
            return await self._execute_all(commands)
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            return [error] * len(batch)


def _silent(replies: list[Any]) -> bool:
    """Whether Redis has answered to nothing."""
    return bool(replies) and all(map(_is_silence, replies))


def _is_silence(reply: Any) -> bool:
    return isinstance(reply, Exception) and (
        isinstance(reply, _SILENCE) or isinstance(reply.__cause__, _SILENCE)
    )


def _translated(reply: Any) -> Any:
    """What callers are told of a connection that was lost; any other reply as it is."""
    if not isinstance(reply, LOST):
        return reply
    error = translate(reply)
    error.__cause__ = reply
    return error
