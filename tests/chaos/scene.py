"""A world with people in it: followers and a producer, and the proof at the end."""

import asyncio
import resource
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.chaos.follower import Follower
from tests.chaos.ledger import EVERYONE, Ledger
from tests.chaos.producer import Producer
from tests.chaos.world import GROUP, World
from tests.harness import eventually


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of events that were acknowledged.

    Attributes:
        lost: how many are gone.
        unknowable: how many streams did not get one of these and could not be told, over all.
        unfounded: users who were told of a gap though nothing of theirs is known to be lost.
    """

    lost: int = 0
    unknowable: int = 0
    unfounded: Sequence[str] = ()


class Scene:
    """Followers of `users` users and a producer at work, from enter to exit.

    Leaving it in order heals nothing: faults have to be over. It then waits until every follower
    has everything, and raises AssertionError if one has not, or has something twice, out of order
    or of somebody else, or was told of a gap that `gaps` (reasons) does not allow.

    Args:
        streams: followers of each user.
        publishing: keywords for `Producer`.
        settings: of the nodes.
        with_replica: whether Redis has a replica, and a Sentinel that can make it the master.
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
        with_replica: bool = False,
        groups: bool = False,
        **publishing: Any,
    ) -> None:
        self.random = Random(seed)
        self.world = World(directory, nodes, settings, with_replica=with_replica)
        self.ledger = Ledger()
        self.users = [f"u{number}" for number in range(users)]
        self.groups: set[str] = set()
        if groups:  # one half of the users, the other half, and all
            for number, user in enumerate(self.users):
                self.world.groups[user] = [f"{GROUP}{number % 2}", f"{GROUP}all"]
                self.groups.update(self.world.groups[user])
        self._recipients = [*self.users, EVERYONE, *sorted(self.groups)]
        self.followers = [
            Follower(
                self.world.nodes,
                self.ledger,
                user,
                self.random,
                receive_buffer=receive_buffer,
                groups=self.world.groups.get(user, ()),
            )
            for user in self.users
            for _ in range(streams)
        ]
        self.producer = Producer(
            self.world, self.ledger, self._recipients, self.random, **publishing
        )
        self._gaps = gaps
        self._tasks: list[asyncio.Task[None]] = []
        self._running: AbstractAsyncContextManager[None]

    @property
    def seen(self) -> int:
        """Events that followers have seen, in all."""
        return sum(follower.track.seen for follower in self.followers)

    @property
    def connects(self) -> int:
        return sum(follower.connects for follower in self.followers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let it run in the block; nothing is judged at its end."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        async with self.world:
            try:
                for follower in self.followers:
                    self._start(follower.run(), f"follower of {follower.user}")
                await self.all_online()
                self._start(self.producer.run(), "producer")
                await self.progress(2)
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._running = self.running()
        await self._running.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        async with AsyncExitStack() as end:
            end.push_async_exit(self._running)
            if exc_info[0] is None:
                await self.settle(shown=bool(self._gaps or self.producer.unheard))
                problems = self.problems(self._gaps)
                assert not problems, "\n".join(problems[:10])

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def all_online(self, timeout: float = 30) -> None:
        """Return when every follower has a stream."""
        await eventually(lambda: all(follower.online for follower in self.followers), timeout, 0.01)

    async def progress(self, rounds: int = 5, timeout: float = 60) -> None:
        """Return when so many more events for everyone have been stored and seen by somebody."""
        goal = self.ledger.stored[EVERYONE] + rounds
        await eventually(lambda: self.ledger.stored[EVERYONE] >= goal, timeout, 0.005)
        seen = self.seen
        await eventually(lambda: self.seen > seen or not self.followers, timeout, 0.005)

    async def settle(self, timeout: float = 30, *, shown: bool = False) -> Judgement:
        """Return when every follower has everything, or cannot be waited for any longer, and what
        became of what Redis may have lost; from now on it loses nothing.

        With `shown`, another event shows them what they lack. There is no other way after
        messages that pub/sub has lost, or events that Redis has; else it has to do without.
        """
        await self.producer.pause()
        await self.all_online()
        if shown:
            silently, self.producer.silently = self.producer.silently, 0  # this one is heard
            await self.producer.round(self._recipients)
            self.producer.silently = silently
        with suppress(AssertionError):
            await eventually(
                lambda: all(follower.track.complete() for follower in self.followers), timeout
            )
        judgement = await self._judge() if self.ledger.loses else Judgement()
        self.ledger.judged()
        self.producer.resume()
        return judgement

    async def _judge(self) -> Judgement:
        kept = await self.world.kept(self._recipients)
        lost = self.ledger.lost(kept)
        tracks = [follower.track for follower in self.followers]
        before = sum(track.unknowable for track in tracks)
        concerned = {track.user for track in tracks if track.has_lost(kept)} | lost.keys()
        told = {track.user for track in tracks if track.gaps}
        for track in tracks:
            track.judge(kept)
        # What is lost of a group is also told to who has heard it of another one of its shard.
        is_wide = EVERYONE in concerned or concerned & self.groups
        unfounded = set() if is_wide else told - concerned
        unknowable = sum(track.unknowable for track in tracks) - before
        return Judgement(sum(lost.values()), unknowable, sorted(unfounded))

    def problems(self, gaps: Collection[str] = ()) -> list[str]:
        """What is not as it has to be at a moment of rest; `gaps` are the reasons allowed."""
        tracks = [follower.track for follower in self.followers]
        found = [text for track in tracks for text in track.violations]
        found += [f"does not get on: {each.lacks()}" for each in tracks if not each.complete()]
        told = {reason for track in tracks for reason in track.gaps} - set(gaps)
        found += [f"a gap that nobody caused: {reason}" for reason in told]
        return found + self.world.tracebacks()
