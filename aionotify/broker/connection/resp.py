"""Replies of Redis straight from a connection's transport, and commands straight to it.

Through a StreamReader, a future and a task's step, reading a message costs more than dispatching
its event. Knows RESP2 and redis-py's connections, and nothing of what the replies mean.
"""

import array
import asyncio
import fcntl
import select
import termios
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

# Bytes that are read in one step of the loop: in between, clients take what was written for them,
# or what comes next would find their sockets full.
_READ_BYTES: Final = 65536
_MUCH_BYTES: Final = _READ_BYTES // 2  # a hundred events; the kernel keeps about twice as much
_NONE_YET: Final = object()
# That there is something to read is no sign of an end: TLS sends what nobody has asked for.
_HUNG_UP: Final[int | None] = getattr(select, "POLLRDHUP", None)  # Linux


async def read_replies(
    connection: AbstractConnection, on_replies: Callable[[list[Any]], None]
) -> None:
    """Call `on_replies` with those that come together; returns never.

    Args:
        connection: with nothing left to read on it, and never to be read from again.

    Raises:
        RedisError: it is lost, or Redis has refused something.
    """
    await start_reading(connection, on_replies).lost


def start_reading(
    connection: AbstractConnection,
    on_replies: Callable[[list[Any]], None],
    *,
    errors: bool = False,
) -> "RespProtocol":
    """Call `on_replies` with the replies that come together, from now on.

    To be called before anything is sent: on uvloop an answer comes before a task that is started.

    Args:
        errors: whether what Redis refuses is a reply like any other, as redis-py's error.

    Raises:
        RedisError: it is lost already.
    """
    assert connection._reader is not None
    transport = _transport(connection)
    if connection._reader.at_eof() or transport.is_closing():
        raise RedisConnectionError("closed by Redis")  # nothing would tell so again
    protocol = RespProtocol(transport, on_replies, errors)
    transport.set_protocol(protocol)
    return protocol


async def send(connection: AbstractConnection, *words: bytes | str) -> None:
    """Send a command on a connection that is being read, and wait while too much has not left yet.

    Raises:
        RedisError: it is lost.
    """
    if connection._writer is None or connection._writer.is_closing():
        raise RedisConnectionError("closed by Redis")  # uvloop's would be a RuntimeError
    await connection.send_packed_command(hiredis.pack_command(words))  # type: ignore[arg-type]


def pack(commands: Iterable[Sequence[bytes | str | float]]) -> bytes:
    """Return commands as they are sent.

    Raises:
        UnicodeEncodeError, TypeError: for a word that cannot be.
    """
    packed = [hiredis.pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]
    return b"".join(packed)


def write(connection: AbstractConnection, data: bytes) -> None:
    """Send packed commands on a connection that is being read, without waiting.

    Raises:
        RedisError: it is lost.
    """
    transport = _transport(connection)
    if transport.is_closing():
        raise RedisConnectionError("closed by Redis")
    transport.write(data)


def unsent(connection: AbstractConnection) -> int:
    """Return how many bytes wait in this process for Redis to take them."""
    return _transport(connection).get_write_buffer_size()


def hung_up(connection: AbstractConnection) -> bool:
    """Whether Redis has closed a connection, though the event loop may not know of it yet."""
    transport = _transport(connection)
    if transport.is_closing():
        return True
    if _HUNG_UP is None or (sock := transport.get_extra_info("socket")) is None:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), _HUNG_UP)
    return bool(poll.poll(0))


def lose(connection: AbstractConnection) -> None:
    """Give up a connection that is being read; whoever reads it is told."""
    _transport(connection).abort()


def _waiting(transport: asyncio.Transport) -> int:
    """Bytes that have come and are to be read."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.is_closing():
        return 0
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, count)
    return count[0]


def _transport(connection: AbstractConnection) -> asyncio.Transport:
    if connection._writer is None:
        raise RedisConnectionError("not connected")
    return cast("asyncio.Transport", connection._writer.transport)


class RespProtocol(asyncio.BufferedProtocol):
    """Reads one connection.

    Attributes:
        lost: fails when it is, or when Redis has refused something and `errors` is not set.
        received: bytes so far.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        on_replies: Callable[[list[Any]], None],
        errors: bool,
    ) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.received = 0
        self._last_read = 0
        self._transport = transport
        self._writing = cast("asyncio.Protocol", transport.get_protocol())  # drain() asks this one
        self._on_replies = on_replies
        self._errors = errors
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=BaseParser.parse_error,
            notEnoughData=_NONE_YET,
        )

    def is_behind(self) -> bool:
        """Whether much was read last, and as much has come since: it comes too fast."""
        return self._last_read >= _MUCH_BYTES and _waiting(self._transport) >= _MUCH_BYTES

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.lost.done():
            return
        self.received += nbytes
        self._last_read = nbytes
        if nbytes == _READ_BYTES:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        replies, gets, refused = [], self._reader.gets, None
        try:
            self._reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type]
            while (reply := gets()) is not _NONE_YET:
                if isinstance(reply, RedisError) and not self._errors:
                    raise reply
                replies.append(reply)
        except RedisError as error:
            refused = error
        if replies:
            self._on_replies(replies)
        if refused is not None:
            self._lose(refused)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(RedisConnectionError(str(exc) if exc else "closed by Redis"))
        self._writing.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writing.pause_writing()

    def resume_writing(self) -> None:
        self._writing.resume_writing()

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _lose(self, reason: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(reason)
            self.lost.exception()  # looked at, though nobody may wait for it any more
