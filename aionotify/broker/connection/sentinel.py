"""Connections to whichever Redis is the master, as its sentinels say.

Follows "Guidelines for Redis clients with support for Redis Sentinel": ask the sentinels in turn
at every connect, then have the node itself confirm that it is the master. redis-py's own Sentinel
brings a pool of its own, which raises an error when it is used up instead of waiting.
"""

from typing import Any, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError

from aionotify.broker.connection.redis_connections import Connection

TIMEOUT: Final = 0.5  # seconds; a sentinel that is down must leave time for the others


class Sentinels:
    """The sentinels at `hosts` that watch the master called `service`.

    `username` and `password` are for the sentinels; the master's are another matter.
    """

    def __init__(
        self,
        hosts: tuple[tuple[str, int], ...],
        service: str,
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self._hosts = hosts
        self._service = service
        self._username = username
        self._password = password

    async def master(self) -> tuple[str, int]:
        """Return the master's host and port; raise redis-py's ConnectionError if nobody knows."""
        for host in self._hosts:
            address = await self._ask(*host)
            if address is not None:
                # It answers, so it is asked first from now on.
                self._hosts = (host, *(other for other in self._hosts if other != host))
                return address
        raise RedisConnectionError(f"no sentinel knows a master for {self._service!r}")

    async def _ask(self, host: str, port: int) -> tuple[str, int] | None:
        connection = Connection(
            host=host,
            port=port,
            protocol=2,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            driver_info=None,
            username=self._username,
            password=self._password,
        )
        try:
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            reply = await connection.read_response()
        except RedisError:
            return None
        finally:
            await connection.disconnect(nowait=True)
        return None if reply is None else (reply[0].decode(), int(reply[1]))


class MasterConnection(Connection):
    """A connection that asks `sentinels` where to go each time it connects."""

    def __init__(self, *, sentinels: Sentinels, **kwargs: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**kwargs)

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.master()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Shake hands, and refuse a node that is not the master (any more)."""
        await super().on_connect_check_health(check_health=check_health)
        await self.send_command("ROLE", check_health=False)
        role = await self.read_response()
        if role[0] != b"master":
            raise RedisConnectionError(f"{self.host}:{self.port} is not the master")

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read as ever, but give up a connection to a master that was demoted meanwhile."""
        try:
            return await super().read_response(*args, **kwargs)
        except ReadOnlyError:
            await self.disconnect(nowait=True)
            raise
