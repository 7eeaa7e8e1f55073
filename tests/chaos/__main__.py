"""Faults at random, for as long as one likes: a live view of what happens, and a report.

Every fault is followed by a rest in which each stream has to have everything: every durable event,
once, in order. The exit code is 1 as soon as one has not.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.scene import Scene

_LONGEST = 4.0  # seconds that a fault lasts; what has to be noticed is noticed within 5
_REFRESH = 4  # times a second


class Run:
    """One run, and what there is to show of it."""

    def __init__(self, scene: Scene, faults: list[Fault], random: Random, seconds: float) -> None:
        self.doing = "starting"
        self.caused: Counter[str] = Counter()
        self._scene = scene
        self._faults = faults
        self._random = random
        self._until = time.monotonic() + seconds
        self._seconds = seconds

    async def play(self) -> None:
        """Cause faults until the time is up; raise AssertionError for what should never be."""
        while time.monotonic() < self._until:
            fault = self._random.choice(self._faults)
            self.doing = fault.name
            await fault.cause(self._scene, self._random.uniform(0.1, _LONGEST))
            self.caused[fault.name] += 1
            self.doing = "seeing that everybody has everything"
            await self._scene.settle()
            self._scene.check()
        self.doing = "done"

    def __rich__(self) -> Table:
        left = max(0.0, self._until - time.monotonic())
        table = Table(title=f"{self._seconds - left:.0f} of {self._seconds:.0f} s", min_width=60)
        table.add_column(self.doing)
        table.add_column("", justify="right")
        for name, value in self.figures().items():
            table.add_row(name, f"{value:,}")
        table.add_section()
        for name, count in sorted(self.caused.items()):
            table.add_row(name, f"{count:,}")
        return table

    def figures(self) -> dict[str, int]:
        """What has happened so far."""
        scene = self._scene
        tracks = [follower.track for follower in scene.followers]
        return {
            "events stored": scene.ledger.stored.total(),
            "events seen": scene.seen,
            "connections of clients": scene.connects,
            "gaps told": sum(track.gaps.total() for track in tracks),
            "violations": len(scene.violations),
        }


async def _run(args: argparse.Namespace, console: Console) -> int:
    random = Random(args.seed)
    faults = [fault for fault in FAULTS if args.losses or not fault.loses]
    console.print(f"seed {args.seed}: {len(faults)} kinds of faults, {args.minutes:g} minutes")
    run: Run | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="aionotify-chaos-") as directory:
            gaps = ("lost",) if args.losses else ()
            async with Scene(Path(directory), seed=args.seed, nodes=3, gaps=gaps) as scene:
                run = Run(scene, faults, random, args.minutes * 60)
                with Live(run, console=console, refresh_per_second=_REFRESH):
                    await run.play()
    except AssertionError as error:
        during = run.doing if run is not None else "starting"
        console.print(f"VIOLATED while {during}:\n{error}\nAgain with --seed {args.seed}.")
        return 1
    console.print("Every durable event, once, in order, to every stream.")
    return 0


def main() -> int:
    """Run, and say with the exit code whether every promise was kept."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to repeat a run")
    parser.add_argument(
        "--losses", action="store_true", help="also have Redis lose everything: gaps are told then"
    )
    return asyncio.run(_run(parser.parse_args(), Console(stderr=True)))


if __name__ == "__main__":
    sys.exit(main())
