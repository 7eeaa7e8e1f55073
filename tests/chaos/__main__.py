"""``python -m tests.chaos``: random faults for as long as one likes."""

import argparse
import asyncio
import random
import tempfile
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.live import Live

from tests.chaos import view
from tests.chaos.scene import Scene
from tests.chaos.story import Story


def main() -> int:
    """Run it; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Publishes to clients of real servers on a real Redis, has random faults "
        "happen, and checks that every durable event reaches every stream once and in order.",
    )
    parser.add_argument("--minutes", type=float, default=1, help="for so long (default 1)")
    parser.add_argument(
        "--each", type=int, default=0, metavar="N", help="instead: each fault alone, N times"
    )
    parser.add_argument("--seed", type=int, help="of a run whose faults are to happen again")
    parser.add_argument("--nodes", type=int, default=3, help="servers (default 3)")
    parser.add_argument("--users", type=int, default=20, help="with streams (default 20)")
    parser.add_argument("--streams", type=int, default=3, help="of each user (default 3)")
    parser.add_argument("--rate", type=float, default=500, help="events a second (default 500)")
    parser.add_argument(
        "--added", type=float, default=0, help="share of events that XADD adds (default 0)"
    )
    parser.add_argument(
        "--hand-over",
        choices=("on", "off"),
        default="on",
        help="whether streams take their connections over, stream.hand_over (default on)",
    )
    args = parser.parse_args()
    seed = random.randrange(2**31) if args.seed is None else args.seed
    console = Console()
    console.print(f"Seed {seed}.")
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        return asyncio.run(_run(args, seed, Path(directory), console))
    return 1


async def _run(args: argparse.Namespace, seed: int, directory: Path, console: Console) -> int:
    scene = Scene(
        directory,
        seed=seed,
        nodes=args.nodes,
        users=args.users,
        streams=args.streams,
        rate=args.rate,
        receive_buffer=16384,
        gaps=("lost",),
        with_replica=True,
        groups=True,
        # Ten minutes, and Redis stays small.
        settings={
            "inbox.max_events": 5000,
            "publish.stream": args.added > 0,
            "stream.hand_over": args.hand_over == "on",
        },
        added=args.added,
    )
    if scene.world.pair is not None and scene.world.pair.clocks:
        console.print(f"[bold red]No clock is set: {scene.world.pair.clocks}.[/]")
    async with scene.running():
        story = Story(scene, seed, args.minutes * 60, args.each)
        try:
            with Live(
                view.Screen(story), console=console, refresh_per_second=4, transient=True
            ) as live:

                def told(act: object) -> None:
                    live.console.print(view.line(story.acts[-1]))

                await story.play(told)
        finally:
            view.report(story, console)
    return int(bool(story.problems))


if __name__ == "__main__":
    raise SystemExit(main())
