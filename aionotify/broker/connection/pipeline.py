"""Commands of many callers on one connection, answered in their order.

redis-py's client takes a connection out of a pool, and starts a task and three timers for each
command: some 200 µs, more than all that is done to open a stream. Here a command is a write, and
its answer is read as live events are. redis-py still connects, and shakes hands.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ReadOnlyError

from aionotify import tasks
from aionotify.broker.connection.resp import hung_up, lose, pack, start_reading, unsent, write

Command = Sequence[bytes | str | int | float]
Execute = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Carries out commands in their order, and returns for each its reply or Redis' error.

Raises what redis-py, the network and the event loop raise when it is not known whether they
were carried out.
"""

LATE: Final = 1.0  # seconds; who is that late may have been replaced meanwhile
_LOOKS: Final = 4  # in the time for which Redis may be silent


def by_client(client: Callable[[], Redis]) -> Execute:
    """Have commands carried out by a client of redis-py, which is asked for anew each time."""
    return partial(_execute_by, client)


async def _execute_by(client: Callable[[], Redis], commands: Sequence[Command]) -> list[Any]:
    if len(commands) == 1:  # a pipeline would double our share of the cost
        return [await client().execute_command(*commands[0])]  # type: ignore[no-untyped-call]
    async with client().pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))


@dataclass(frozen=True, slots=True)
class BlockingClient:
    """A client of redis-py that blocks, for a thread in which nothing else is to be done."""

    client: BlockingRedis

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """See `Execute`."""
        pipeline = self.client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        return list(pipeline.execute(raise_on_error=False))


class Pipeline:
    """One connection for all. It is made when it is needed, and again when it was lost.

    Args:
        connect: makes a connection that waits for ever.
        max_silence: seconds for which Redis may be silent while there is something to answer.
        verify: says why a connection is to one that is not the master (any more), or None; asked
            when replies were late, for a master that hung may have been replaced meanwhile.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AbstractConnection]],
        max_silence: float,
        verify: Callable[[AbstractConnection, Execute], Awaitable[str | None]] | None = None,
    ) -> None:
        self._connect = connect
        self._verify = verify
        self._max_silence = max_silence
        self._opening: asyncio.Task[_Session] | None = None
        self._session: _Session | None = None
        self._closed = False

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """See `Execute`. Raises BrokerError when there is no connection to be had."""
        if not commands:
            return []
        session = self._session
        if session is None or not session.is_usable():
            session = await self._opened()
        sent_at = time.monotonic()
        replies = await session.execute(commands)
        if self._verify is not None and time.monotonic() - sent_at > LATE:
            problem = await self._verify(session.connection, session.execute)
            if problem is not None:
                session.end(RedisConnectionError(problem))
                raise RedisConnectionError(f"answered late, and {problem}")
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            # A master that was demoted. Who is it now is found out by connecting.
            session.end(RedisConnectionError("not the master any more"))
        return replies

    async def renew(self) -> None:
        """Make a new connection and use that from now on, if there is one already.

        What was asked on the old one is still answered there. Raises what `connect` does: there is
        no new one to be had, and the old one stays in use.
        """
        old = self._session
        if old is not None and old.is_usable():
            await self._opened()
            try:
                await old.retire()
            finally:
                await old.close()

    @property
    def connection(self) -> AbstractConnection | None:
        """The one that is in use."""
        return None if self._session is None else self._session.connection

    def drop(self, reason: str) -> None:
        """Have what is still to be answered fail, and the next command find a new connection."""
        if self._session is not None:
            self._session.end(RedisConnectionError(reason))

    async def close(self) -> None:
        """Close the connection; what is still to be answered fails."""
        self._closed = True
        if self._opening is not None:
            await tasks.cancelled([self._opening])
        if self._session is not None:
            await self._session.close()

    def __del__(self) -> None:
        # Whoever forgot to close it must not have a connection that stays open unused.
        if self._session is not None:
            self._session.abandon()

    async def _opened(self) -> "_Session":
        """A new connection. Whoever wants one while it is being made shares its fate."""
        if self._closed:
            raise RedisConnectionError("the connection was closed")
        opening = self._opening
        if opening is None or opening.get_loop() is not asyncio.get_running_loop():
            opening = asyncio.create_task(self._open(), name="aionotify connecting")
            opening.add_done_callback(_look_at)  # for all who wait may leave
            self._opening = opening
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            tasks.obey()
            raise RedisConnectionError("the connection was closed") from None

    async def _open(self) -> "_Session":
        try:
            connection = await self._connect()
            try:
                self._session = _Session(connection, self._max_silence)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            return self._session
        finally:
            self._opening = None


def _look_at(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


class _Session:
    """A connection, from when it is made until it is lost."""

    def __init__(self, connection: AbstractConnection, max_silence: float) -> None:
        self.connection = connection
        self._max_silence = max_silence
        self._loop = asyncio.get_running_loop()
        self._ended = self._retired = False
        self._unsent: list[bytes] = []
        self._expected: deque[tuple[int, list[Any], asyncio.Future[list[Any]]]] = deque()
        self._silent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._done = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None
        self._protocol = start_reading(connection, self._take, errors=True)
        # No task, for a publisher that rests has none.
        self._protocol.lost.add_done_callback(self._lost)

    def is_usable(self) -> bool:
        """Whether it has not ended, nor with the event loop that it was made on."""
        if self._ended or self._loop is not asyncio.get_running_loop():
            return False
        # What is under way when the connection is lost fails. What is not must not: while the loop
        # stood still Redis may have been restarted.
        return bool(self._expected) or not hung_up(self.connection)

    def execute(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Send commands, with all others of this step of the loop; the replies come in time."""
        packed = pack(commands)
        answer: asyncio.Future[list[Any]] = self._loop.create_future()
        if self._ended:  # in the moment in which it was made
            answer.set_exception(RedisConnectionError("the connection was lost"))
            answer.exception()  # looked at, even when the caller has left
            return answer
        self._expected.append((len(commands), [], answer))
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        return answer

    async def retire(self) -> None:
        """Wait until everything is answered. Nothing more is to be asked."""
        self._retired = True
        if self._expected:
            await self._done

    def end(self, reason: Exception) -> None:
        """Fail whatever is not answered yet. What comes after that belongs to nobody."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        for _, _, answer in self._expected:
            if not answer.done() and not self._loop.is_closed():  # there, nobody waits any more
                answer.set_exception(reason)
                answer.exception()  # looked at, even when the caller has left
        self._expected.clear()
        if not self._loop.is_closed():
            lose(self.connection)
            self._done.set_result(None)
        if self._loop.is_running():
            self._closing = self._loop.create_task(
                self.connection.disconnect(nowait=True), name="aionotify disconnecting"
            )

    def abandon(self) -> None:
        """End it from wherever that is: on its own event loop, if that may run again."""
        reason = RedisConnectionError("the connection was closed")
        if self._loop.is_closed():
            self.end(reason)
        else:
            self._loop.call_soon_threadsafe(self.end, reason)

    async def close(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            self.abandon()
            return
        self.end(RedisConnectionError("the connection was closed"))
        if self._closing is not None and self._loop is asyncio.get_running_loop():
            await asyncio.wait([self._closing])

    def _lost(self, lost: "asyncio.Future[None]") -> None:
        error = lost.exception()
        assert isinstance(error, Exception)
        self.end(error)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._ended:
            return
        try:
            write(self.connection, b"".join(unsent))
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            self.end(error)
        else:
            if self._timer is None:
                self._look_later()

    def _take(self, replies: list[Any]) -> None:
        for reply in replies:
            self._reply(reply)

    def _reply(self, reply: Any) -> None:
        if not self._expected:
            self.end(InvalidResponse("a reply that nobody has asked for"))
            return
        count, replies, answer = self._expected[0]
        replies.append(reply)
        if len(replies) == count:
            self._expected.popleft()
            if not answer.done():  # the caller may have left
                answer.set_result(replies)
            if self._retired and not self._expected:
                self.end(RedisConnectionError("the connection was renewed"))

    # One timer for all, which is not set anew for each: it looks now and then who is silent. Bytes
    # count, not answers, for a long one may take its time.

    def _look(self, received: int, waiting: int) -> None:
        self._timer = None
        alive = self._protocol.received > received or unsent(self.connection) < waiting
        self._silent = 0 if alive else self._silent + 1
        if self._silent >= _LOOKS:
            self.end(TimeoutError(f"no answer for {self._max_silence:g} s"))
        elif self._expected:
            self._look_later()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(
            self._max_silence / _LOOKS,
            self._look,
            self._protocol.received,
            unsent(self.connection),
        )
