"""redis-py's connections, but that they never write to one that was lost.

redis-py writes with `writelines`. From Python 3.12 on, and Debian 13's 3.13.5 still does, asyncio's
then watches the descriptor of a connection that was lost, which by then is nobody's or somebody
else's. The next connection gets the same one and is never made, or an HTTP client's is found to be
writable again and again for nothing.
"""

from collections.abc import Iterable

from redis.asyncio import connection as redis_py
from redis.exceptions import ConnectionError as RedisConnectionError


class _Careful(redis_py.AbstractConnection):
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send a command, on a new connection if there is none; raise if it was lost."""
        if self._writer is not None and self._writer.is_closing():
            await self.disconnect(nowait=True)
            raise RedisConnectionError("closed by Redis")
        await super().send_packed_command(command, check_health)


class Connection(_Careful, redis_py.Connection):
    """Over TCP."""


class SSLConnection(_Careful, redis_py.SSLConnection):
    """With TLS."""


class UnixDomainSocketConnection(_Careful, redis_py.UnixDomainSocketConnection):
    """Over a Unix socket."""
