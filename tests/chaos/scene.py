"""A world with people in it: followers and a producer, and the proof at the end."""

import asyncio
import resource
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.chaos.follower import Follower
from tests.chaos.ledger import EVERYONE, Ledger
from tests.chaos.producer import Producer
from tests.chaos.world import World
from tests.harness import eventually


class Scene:
    """Followers of `users` users and a producer at work, from enter to exit.

    Leaving it in order heals nothing: faults have to be over. It then waits until every follower
    has everything, and raises AssertionError if one has not, or has something twice, out of order
    or of somebody else, or was told of a gap that `gaps` (reasons) does not allow.

    Args:
        streams: followers of each user.
        publishing: keywords for `Producer`.
        settings: of the nodes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int = 0,
        nodes: int = 2,
        users: int = 8,
        streams: int = 2,
        gaps: tuple[str, ...] = (),
        settings: Mapping[str, object] | None = None,
        receive_buffer: int | None = None,
        **publishing: Any,
    ) -> None:
        self.random = Random(seed)
        self.world = World(directory, nodes, settings)
        self.ledger = Ledger()
        self.users = [f"u{number}" for number in range(users)]
        self.followers = [
            Follower(
                self.world.nodes, self.ledger, user, self.random, receive_buffer=receive_buffer
            )
            for user in self.users
            for _ in range(streams)
        ]
        self.producer = Producer(
            self.world, self.ledger, [*self.users, EVERYONE], self.random, **publishing
        )
        self._gaps = gaps
        self._tasks: list[asyncio.Task[None]] = []
        self._running = AsyncExitStack()

    @property
    def seen(self) -> int:
        """Events that followers have seen, in all."""
        return sum(follower.track.seen for follower in self.followers)

    @property
    def connects(self) -> int:
        return sum(follower.connects for follower in self.followers)

    @property
    def violations(self) -> list[str]:
        return [text for follower in self.followers for text in follower.track.violations]

    async def __aenter__(self) -> Self:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        async with AsyncExitStack() as running:
            await running.enter_async_context(self.world)
            running.push_async_callback(self._end)
            for follower in self.followers:
                self._start(follower.run(), f"follower of {follower.user}")
            await self.all_online()
            self._start(self.producer.run(), "producer")
            await self.progress(2)
            self._running = running.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        async with self._running:
            if kind is None:
                await self.settle()
                self.check()

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_online(self, timeout: float = 30) -> None:
        """Return when every follower has a stream."""
        await eventually(lambda: all(follower.online for follower in self.followers), timeout, 0.01)

    async def progress(self, rounds: int = 5, timeout: float = 60) -> None:
        """Return when so many more events for everyone have been stored and seen by somebody."""
        goal = self.ledger.stored[EVERYONE] + rounds
        await eventually(lambda: self.ledger.stored[EVERYONE] >= goal, timeout, 0.005)
        seen = self.seen
        await eventually(lambda: self.seen > seen or not self.followers, timeout, 0.005)

    async def settle(self, timeout: float = 30) -> None:
        """Return when every follower has everything.

        Without another event to show them what they lack, unless there is no other way: after
        messages that pub/sub has lost, or events that Redis has.
        """
        await self.producer.pause()
        await self.all_online()
        if self.producer.unheard or self._gaps:
            await self.producer.round([*self.users, EVERYONE])
        with suppress(AssertionError):  # `check` says it better
            await eventually(
                lambda: all(follower.track.complete() for follower in self.followers), timeout
            )
        self.producer.resume()

    def check(self) -> None:
        """Raise AssertionError unless everything is as it has to be, at a moment of rest."""
        assert not self.violations, "\n".join(self.violations[:10])
        behind = [each.track.lacks() for each in self.followers if not each.track.complete()]
        assert not behind, f"{len(behind)} do not get on:\n" + "\n".join(behind[:10])
        told = {reason for follower in self.followers for reason in follower.track.gaps}
        assert told <= set(self._gaps), f"gaps that nobody caused: {told}"
        assert not self.world.tracebacks(), self.world.tracebacks()[0]
