"""Faults at random, for as long as one likes, with a judgement after each."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from redis import RedisError

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ledger import EVERYONE
from tests.chaos.scene import Judgement, Scene

ALONE = 3.0  # seconds that a fault lasts of which it is measured what it costs
LONGEST = 4.0  # seconds that a fault lasts; a silent Redis is noticed after that


@dataclass(slots=True)
class Act:
    """Some faults that happen at the same time, and how it ended.

    Attributes:
        lasting: seconds for each fault.
        silently: share of the messages that pub/sub loses meanwhile.
        recovery: seconds from the end of the last fault to the moment at which every client had
            everything, or None when that moment did not come.
        problems: what was wrong then.
        judgement: of what Redis has lost.
        pause: seconds for which a client saw no event, at most, from the beginning on.
        connects: how many streams were opened anew.
        gaps: how many were told.
    """

    faults: dict[Fault, float]
    silently: float
    recovery: float | None = None
    problems: list[str] = field(default_factory=list)
    judgement: Judgement = field(default_factory=Judgement)
    pause: float = 0.0
    connects: int = 0
    gaps: int = 0

    @property
    def name(self) -> str:
        names = [fault.name for fault in self.faults]
        if self.silently:
            names.append(f"pub/sub loses {self.silently:.0%}")
        return ", ".join(names)

    @property
    def loses(self) -> bool:
        return any(fault.loses for fault in self.faults)


@dataclass(slots=True)
class Story:
    """What has happened so far.

    Attributes:
        acts: the latest is still going on while `playing`.
        each: how often each fault is to happen alone; 0 for random ones, together.
        gaps: told to clients, by reason.
        missing: events that these gaps were about.
    """

    scene: Scene
    seed: int
    seconds: float
    each: int = 0
    started: float = field(default_factory=time.monotonic)
    acts: list[Act] = field(default_factory=list)
    playing: bool = False
    gaps: Counter[str] = field(default_factory=Counter)
    missing: int = 0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def problems(self) -> list[str]:
        return [problem for act in self.acts for problem in act.problems]

    async def play(self, told: Callable[[Act], None]) -> None:
        """Play until the time is over or something is wrong; `told` hears of each act at its end.

        The seed decides what happens, and not when exactly: real processes take their time.
        """
        random = Random(self.seed)
        self.playing = True
        faults = [fault for fault in FAULTS if fault.possible(self.scene)]
        acts = _each(faults, self.each) if self.each else _at_random(random, faults)
        for act in acts:
            if self.problems or (not self.each and self.elapsed > self.seconds):
                break
            self.acts.append(act)
            await self.have_happen(act)
            told(act)
        self.playing = False

    async def have_happen(self, act: Act) -> None:
        """Let the faults happen and be over, and judge what came of it."""
        scene = self.scene
        scene.producer.silently = act.silently
        scene.ledger.loses = act.loses
        before = scene.connects
        pair = scene.world.pair
        changes = 0 if pair is None else pair.changes
        for follower in scene.followers:
            follower.track.watch()
        # A task of its own takes with it the mark that its TaskGroup leaves; see `aionotify.tasks`.
        await asyncio.create_task(self._cause(act), name="cause")
        over = time.monotonic()
        scene.producer.silently = 0
        if not act.problems:
            scene.ledger.reverts = pair is not None and pair.changes - changes > 1
            try:
                await scene.progress(3)
                act.judgement = await scene.settle(shown=bool(act.silently or act.loses))
            except AssertionError as error:
                act.problems.append(f"publishing or connecting does not work: {error}")
            act.problems += scene.problems({"lost"} if act.loses else ())
        if not act.problems:
            act.recovery = time.monotonic() - over
        act.connects = scene.connects - before
        act.pause = max(follower.track.pause for follower in scene.followers)
        for follower in scene.followers:
            act.gaps += follower.track.gaps.total()
            self.gaps += follower.track.gaps
            self.missing += follower.track.missing
            follower.track.gaps.clear()
            follower.track.forget()
            follower.track.missing = 0

    async def _cause(self, act: Act) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for fault, seconds in act.faults.items():
                    group.create_task(fault.cause(self.scene, seconds), name=fault.name)
        except* (AssertionError, OSError, RedisError) as errors:
            act.problems += [f"{type(error).__name__}: {error}" for error in errors.exceptions]

    @property
    def lost(self) -> int:
        """Events that were acknowledged and that Redis has lost."""
        return sum(act.judgement.lost for act in self.acts)

    @property
    def published(self) -> int:
        return self.scene.ledger.stored.total()

    @property
    def broadcasts(self) -> int:
        return self.scene.ledger.stored[EVERYONE]


def _each(faults: Sequence[Fault], times: int) -> Iterator[Act]:
    for fault in faults:
        for _ in range(times):
            yield Act({fault: ALONE}, silently=0)


def _at_random(random: Random, faults: Sequence[Fault]) -> Iterator[Act]:
    while True:
        yield _next_act(random, faults)


def _next_act(random: Random, faults: Sequence[Fault]) -> Act:
    """One fault, or two or three at different places."""
    first = random.choice(faults)
    chosen = [first]
    while first.place and len(chosen) < 3 and random.random() < 0.4:
        taken = {fault.place for fault in chosen} | {""}
        others = [fault for fault in faults if fault.place not in taken]
        if not others:
            break
        chosen.append(random.choice(others))
    lasting = {fault: round(random.uniform(0.1, LONGEST), 1) for fault in chosen}
    silently = random.choice((0.0, 0.0, 0.1))
    if any(fault.loses for fault in chosen):
        silently = 0.0  # nobody hears of these, so nobody could know what was lost
    return Act(lasting, silently)
