"""redis-py's connections, as ours log in and introduce themselves.

The login and the database are needed; without them there is no connection. The name is a courtesy
to whoever reads CLIENT LIST: an ACL user, a proxy or a provider may not permit it.

And ours never write to a connection that was lost. redis-py writes with `writelines`. From Python
3.12 on, and Debian 13's 3.13.5 still does, asyncio's then watches the descriptor of a connection
that was lost, which by then is nobody's or somebody else's. The next connection gets the same one
and is never made, or an HTTP client's is found to be writable again and again for nothing.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import connection as redis_py
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from aionotify.broker.connection.tls import TLSContext


class NoSuchDatabase(ResponseError):
    """Redis answers, and has no database of that number."""


class Login(CredentialProvider):
    """User and password as they are now: each connection asks for them when it is made."""

    def __init__(self, username: str | None, password: str | None) -> None:
        self._username = username
        self._password = password

    def adopt(self, other: "Login") -> bool:
        """Be as `other` is; return whether that is something else."""
        was = self.get_credentials()
        self._username, self._password = other._username, other._password
        return self.get_credentials() != was

    def get_credentials(self) -> tuple[str, ...]:  # type: ignore[override]
        """Return the arguments of AUTH; none to stay who one is unasked."""
        if self._username is not None:
            return self._username, self._password or ""
        return () if self._password is None else (self._password,)

    async def get_credentials_async(self) -> tuple[str, ...]:  # type: ignore[override]
        """The same; redis-py's own would log a warning."""
        return self.get_credentials()


class _Ours(redis_py.AbstractConnection):
    def __init__(self, *, name: str, database: int = 0, **kwargs: Any) -> None:
        self._name = name
        self._database = database
        super().__init__(**kwargs)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, select the database, say who we are."""
        await super().on_connect_check_health(check_health=check_health)
        if self._database:  # which is 0 otherwise: nobody needs a right to stay there
            try:
                await self.ask("SELECT", self._database)
            except NoPermissionError:
                raise
            except ResponseError as error:
                raise NoSuchDatabase(f"SELECT {self._database}: {quoted(error)}") from None
        with contextlib.suppress(ResponseError):
            await self.ask("CLIENT", "SETNAME", self._name)

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        """Send a command, on a new connection if there is none; raise if it was lost."""
        if self._writer is not None and self._writer.is_closing():
            await self.disconnect(nowait=True)
            raise RedisConnectionError("closed by Redis")
        await super().send_packed_command(command, check_health)

    async def ask(self, *words: str | int) -> Any:
        """Return the reply to a command; raise redis-py's errors."""
        await self.send_command(*words, check_health=False)
        return await self.read_response()


class UnixConnection(_Ours, redis_py.UnixDomainSocketConnection):
    """A connection over a Unix socket."""


class TCPConnection(_Ours, redis_py.Connection):
    """A connection over TCP, encrypted if there is a context for it."""

    def __init__(self, *, tls: TLSContext | None = None, **kwargs: Any) -> None:
        self._tls = tls
        super().__init__(**kwargs)

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = super()._connection_arguments()
        return arguments if self._tls is None else {**arguments, "ssl": self._tls.get()}


def quoted(error: Exception) -> str:
    """Return what Redis, or the network, has said.

    With the code before it, which redis-py takes off, and without the arguments of a command that
    Redis does not know: they may be an event.
    """
    code = getattr(error, "status_code", None)
    text, _, _ = (str(error) or type(error).__name__).partition(", with args")
    text = _NOT_CONNECTED.sub(lambda failed: failed[1] + os.strerror(int(failed[2])), text)
    return f"{code} {text}" if code else text


# asyncio has an errno, and keeps to itself what the kernel calls it.
_NOT_CONNECTED = re.compile(r"(Err\w+ (\d+)[^[]*? )Connect call failed \([^)]*\)")
