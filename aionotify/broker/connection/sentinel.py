"""Connections to the master that the sentinels name.

Follows "Guidelines for Redis clients with support for Redis Sentinel": ask the sentinels at every
connect, then have the node itself confirm that it is the master. All of them are asked, for one
that was cut off goes on naming the master of before; the config epoch says whose word is newer.
redis-py's own Sentinel takes the first answer, and brings a pool of its own, which raises an error
when it is used up instead of waiting.
"""

import asyncio
import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from aionotify import tasks
from aionotify.broker.connection.pipeline import Pipeline
from aionotify.broker.connection.redis_connections import TCPConnection, quoted

TIMEOUT: Final = 0.5  # seconds; a sentinel that is down must leave time for the others
_ANSWER_WINDOW: Final = 0.1  # seconds; one that is up and near answers within a few milliseconds
_CONNECT: Final = 1.5  # seconds, for all masters that are named; TIMEOUT goes before
_EPOCH_UNKNOWN: Final = -1

Place = tuple[str, int]
"""Host and port."""


class Objection(enum.Enum):
    """Why a sentinel is of no help."""

    ABSENT = "does not answer"
    LOGIN_MISSING = "asks for a password"
    LOGIN_REFUSED = "refuses the user or password"
    NO_SENTINEL = "is no sentinel"
    OTHER_NAME = "watches no master of that name"
    NO_RIGHTS = "does not permit the question"
    BEHIND = "names another master"


class SentinelError(RedisConnectionError):
    """A sentinel names no master. The text quotes it."""

    def __init__(self, sentinel: Place, objection: Objection, words: str) -> None:
        self.objection = objection
        super().__init__(f"sentinel {shown(sentinel)} {objection.value}: {words}")


class NoMasterNamed(RedisConnectionError):
    """No sentinel names a master; `errors` has what each has said instead."""

    def __init__(self, service: str, errors: Iterable[SentinelError]) -> None:
        self.errors = tuple(errors)
        said = "; ".join(map(str, self.errors))
        super().__init__(f"no sentinel knows a master for {service!r}: {said}")


@dataclass(frozen=True, slots=True)
class Named:
    """A master as a sentinel names it.

    Attributes:
        epoch: of the configuration; each failover has a higher one.
        down: whether the sentinel itself believes so.
    """

    place: Place
    epoch: int = _EPOCH_UNKNOWN
    down: bool = False


class Sentinels:
    """The sentinels at `hosts` that watch the master called `service`.

    Args:
        connect: makes a connection to a sentinel, which waits for ever; raises redis-py's errors.

    Attributes:
        objections: what was wrong with sentinels when they were asked last.
    """

    def __init__(
        self,
        hosts: tuple[Place, ...],
        service: str,
        connect: Callable[[Place], AbstractConnection],
    ) -> None:
        self.objections: tuple[SentinelError, ...] = ()
        self._service = service
        # A connection to each is kept: the question costs a write then, and can be asked often.
        self.pipelines = {
            host: Pipeline(partial(_connected, connect, host), TIMEOUT) for host in hosts
        }
        self._refuted: set[Named] = set()

    async def masters(self) -> list[Named]:
        """Return the masters that are named, the one to believe first.

        The newest configuration wins. What its own sentinel believes to be down, and what was
        found not to be a master, comes after what may be one.

        Raises NoMasterNamed.
        """
        asked = [
            asyncio.create_task(self._ask(host), name="aionotify sentinel")
            for host in self.pipelines
        ]
        try:
            _, silent = await asyncio.wait(asked, timeout=_ANSWER_WINDOW)
            while silent and not any(isinstance(found, Named) for found in _results(asked)):
                _, silent = await asyncio.wait(silent, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.cancelled(asked)
        found = [
            self._absent(host) if task.cancelled() else task.result()
            for host, task in zip(self.pipelines, asked, strict=True)
        ]
        errors = [each for each in found if isinstance(each, SentinelError)]
        named = [each for each in found if isinstance(each, Named)]
        if not named:
            self.objections = tuple(errors)
            raise NoMasterNamed(self._service, errors)
        self._refuted &= set(named)  # a later configuration is judged anew
        named.sort(key=lambda each: (each.down or each in self._refuted, -each.epoch))
        self.objections = (*errors, *self._behind(found, named[0]))
        first: dict[Place, Named] = {}
        for each in named:
            first.setdefault(each.place, each)
        return list(first.values())

    def judge(self, named: Named, *, right: bool) -> None:
        """Remember whether what was named proved to be the master."""
        if right:
            self._refuted.discard(named)
        else:
            self._refuted.add(named)

    async def close(self) -> None:
        """Close the connections that were kept."""
        for pipeline in self.pipelines.values():
            await pipeline.close()

    async def _ask(self, host: Place) -> Named | SentinelError:
        try:
            return await self._answer(host)
        except AuthenticationError as error:
            missing = error.status_code == "NOAUTH"
            kind = Objection.LOGIN_MISSING if missing else Objection.LOGIN_REFUSED
            return SentinelError(host, kind, quoted(error))
        except NoPermissionError as error:
            return SentinelError(host, Objection.NO_RIGHTS, quoted(error))
        except ResponseError as error:
            unknown = "no such master" in str(error).lower()
            kind = Objection.OTHER_NAME if unknown else Objection.NO_SENTINEL
            return SentinelError(host, kind, quoted(error))
        except (RedisError, OSError, RuntimeError) as error:
            return SentinelError(host, Objection.ABSENT, quoted(error))

    async def _answer(self, host: Place) -> Named:
        # MASTER has the epoch, but until a failover is over it tells where the master was before.
        current, master = await self.pipelines[host].execute(
            [
                ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service),
                ("SENTINEL", "MASTER", self._service),
            ]
        )
        if isinstance(current, Exception):
            raise current
        if current is None:
            raise ResponseError("no such master")
        place = current[0].decode(), int(current[1])
        if isinstance(master, NoPermissionError):
            return Named(place)
        if isinstance(master, Exception):
            raise master
        said = {
            name.decode(): value.decode()
            for name, value in zip(master[::2], master[1::2], strict=True)
        }
        about_it = (said["ip"], int(said["port"])) == place
        down = {"s_down", "o_down", "disconnected"} & set(said["flags"].split(","))
        return Named(place, int(said["config-epoch"]), about_it and bool(down))

    def _absent(self, host: Place) -> SentinelError:
        return SentinelError(host, Objection.ABSENT, f"silent for {_ANSWER_WINDOW:g} s")

    def _behind(
        self, found: Iterable[Named | SentinelError], best: Named
    ) -> Iterable[SentinelError]:
        for host, each in zip(self.pipelines, found, strict=True):
            if isinstance(each, Named) and each.place != best.place:
                said = f"{shown(each.place)}, and not {shown(best.place)}"
                yield SentinelError(host, Objection.BEHIND, said)


class MasterConnection(TCPConnection):
    """A connection that asks `sentinels` where to go each time it connects."""

    def __init__(self, *, sentinels: Sentinels, **kwargs: Any) -> None:
        self._sentinels = sentinels
        super().__init__(**kwargs)

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        """Connect to the first of those named that is there and says that it is the master."""
        if self.is_connected:
            return
        named = await self._sentinels.masters()
        for each in named:
            self.host, self.port = each.place
            try:
                async with tasks.timeout(_CONNECT / len(named)):
                    await super().connect_check_health(check_health, retry_socket_connect)
            except AuthenticationError:
                raise  # it is there, and would be the one
            except (RedisConnectionError, RedisTimeoutError, TimeoutError) as error:
                await self.disconnect(nowait=True)
                self._sentinels.judge(each, right=False)
                if each is named[-1]:
                    if isinstance(error, TimeoutError):
                        raise RedisTimeoutError(f"no answer from {shown(each.place)}") from error
                    raise
            else:
                self._sentinels.judge(each, right=True)
                return

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Shake hands, and refuse a node that is not the master, or no longer."""
        await super().on_connect_check_health(check_health=check_health)
        try:
            role = (await self.ask("ROLE"))[0]
        except ResponseError:
            return  # not permitted: then the sentinels' word has to do
        if role != b"master":
            raise RedisConnectionError(f"{self.host}:{self.port} is not the master")


def shown(place: Place) -> str:
    """Return a host and its port as one writes them."""
    host, port = place
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _results(asked: Iterable[asyncio.Task[Named | SentinelError]]) -> Iterable[object]:
    return (task.result() for task in asked if task.done())


async def _connected(
    connect: Callable[[Place], AbstractConnection], host: Place
) -> AbstractConnection:
    connection = connect(host)
    try:
        async with tasks.timeout(TIMEOUT):
            await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection
