"""A master and its replica, watched by a real Sentinel that acts only when it is told to.

Each has a clock of its own where clocks can be set. Addresses that lead to the master are led to
the other one when that is promoted. Knows nothing of nodes and events.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import redis

from tests.harness import Clock, NoCompiler, RedisServer, TcpProxy, eventually, free_port

SERVICE = "main"
_AT_REST = 600_000  # ms after which Sentinel believes that a master is down: later than ever
_SOON = 500  # ms
_LOOK = 0.1  # seconds between two looks for who is the master
_LONGEST = 15.0  # seconds until a replica is promoted, if one is
_PATIENCE = 60.0  # seconds until a master that was replaced is a replica again: Sentinel takes ten


class Pair:
    """Two servers and a Sentinel, all there between enter and exit.

    Attributes:
        master, replica: the servers, as it was last seen.
        addresses: proxies that lead to the master.
        cuts: whether their connections to a master that was replaced are cut.
        changes: how often the Sentinel has named another master.
        clocks: why clocks cannot be set, or None.
    """

    def __init__(self, directory: Path, options: Mapping[str, str] | None = None) -> None:
        self.clocks: str | None = None
        servers = []
        for name in ("first", "second"):
            place = directory / name
            place.mkdir()
            clock = None
            try:
                clock = Clock(place)
            except NoCompiler as error:
                self.clocks = str(error)
            at_once = {"repl-diskless-sync-delay": "0", "repl-timeout": "5"}
            servers.append(
                RedisServer(
                    place, persistent=True, clock=clock, options=at_once | dict(options or {})
                )
            )
        self.master, self.replica = servers
        self.addresses: list[TcpProxy] = []
        self.cuts = True
        self.changes = 0
        place = directory / "sentinel"
        self.sentinel = self.master.sentinel(place, SERVICE)
        self._undo = ExitStack()
        self._watching: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """What goes into `redis.url` of those who ask the Sentinel."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    async def __aenter__(self) -> Self:
        with ExitStack() as undo:
            for server in (self.master, self.replica):
                undo.enter_context(server)
            self.join_replica()
            await self._linked()
            undo.enter_context(self.sentinel)
            self._undo = undo.pop_all()
        self.expect_failures(False)
        self.sentinel.cli("SENTINEL", "SET", SERVICE, "failover-timeout", 3000)
        await eventually(lambda: self.sentinel.cli("SENTINEL", "REPLICAS", SERVICE), _PATIENCE)
        self._watching = asyncio.create_task(self._watch(), name="who is the master")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.to_thread(self._undo.close)

    # --- what is done to it -------------------------------------------------------------------

    def expect_failures(self, expected: bool) -> None:
        """Have the Sentinel replace a master that is down, or look on."""
        after = _SOON if expected else _AT_REST
        self.sentinel.cli("SENTINEL", "SET", SERVICE, "down-after-milliseconds", after)

    def fail_over(self, *how: str) -> None:
        """Have the Sentinel promote the replica, though nothing is wrong."""
        self.sentinel.cli("SENTINEL", "FAILOVER", SERVICE, *how)

    def join_replica(self) -> None:
        """Have the replica copy the master again."""
        self.replica.cli("REPLICAOF", "127.0.0.1", self.master.port)

    def cut_replica_off(self) -> None:
        """Copy nothing more to the replica, which goes on asking for it."""
        self.replica.cli("REPLICAOF", "127.0.0.1", free_port())

    async def promoted(self, before: RedisServer) -> None:
        """Return when another one than `before` is the master, or that is not to be expected.

        A replica that believes that it has heard nothing for minutes, for its clock was set, is not
        promoted.
        """
        with suppress(AssertionError):
            await eventually(lambda: self.master is not before, _LONGEST)

    async def at_rest(self) -> None:
        """Return when one is the master and the other has all that it has."""
        await _threaded(lambda: self._roles() == ("master", "slave"))
        await self._linked()

    async def come_back(self, kept: Path | None) -> None:
        """Have all of it end, and begin again with an older state, or with nothing."""
        await asyncio.to_thread(self._begin_with, kept)
        await self._linked()

    def _begin_with(self, kept: Path | None) -> None:
        self.sentinel.pause()
        self.replica.stop()
        self.master.kill()
        self.master.start_with(kept)
        self.replica.start()
        self.join_replica()
        # One that stood still does not trust its clock for half a minute, and one that has begun
        # anew does.
        self.sentinel.kill()
        self.sentinel.start()

    # --- what becomes of it -------------------------------------------------------------------

    async def _linked(self) -> None:
        def linked() -> bool:
            try:
                found = self.replica.cli("INFO", "replication")
            except redis.RedisError:
                return False
            return bool(found.get("master_link_status") == "up")

        await _threaded(linked)

    def _roles(self) -> tuple[str, ...]:
        try:
            return tuple(server.cli("ROLE")[0] for server in (self.master, self.replica))
        except redis.RedisError:
            return ()

    async def _watch(self) -> None:
        """Lead the addresses to whom the Sentinel names, as a load balancer does that asks it."""
        while True:
            with suppress(redis.RedisError):
                _, port = await asyncio.to_thread(
                    self.sentinel.cli, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE
                )
                if int(port) == self.replica.port:
                    self.master, self.replica = self.replica, self.master
                    self.changes += 1
                    for proxy in self.addresses:
                        proxy.lead_to(self.master.port)
                        if self.cuts:
                            proxy.cut()
            await asyncio.sleep(_LOOK)


async def _threaded(condition: Callable[[], bool]) -> None:
    """Wait for what a server says, in a thread: one that hangs must not hold up who watches."""
    async with asyncio.timeout(_PATIENCE):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)
