"""What the chaos looks like while it goes on, and what there is to say at the end."""

from collections import defaultdict
from statistics import median

from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tests.chaos.story import Act, Story


class Screen:
    """A live view of `story`, as rich renders it: anew each time it is asked for."""

    def __init__(self, story: Story) -> None:
        self._story = story

    def __rich__(self) -> Group:
        story, scene = self._story, self._story.scene
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", justify="right")
        table.add_column()
        act = story.acts[-1] if story.acts else None
        table.add_row("now", Text(act.name if act and story.playing else "-", style="bold"))
        nodes = "  ".join(
            f"[green]{node.name}[/]" if node.up else f"[red]{node.name} is down[/]"
            for node in scene.world.nodes
        )
        table.add_row("nodes", nodes)
        online = sum(follower.online for follower in scene.followers)
        table.add_row("streams", f"{online:,} of {len(scene.followers):,} open")
        table.add_row("connections", f"{scene.connects:,}")
        failed = scene.producer.failures
        table.add_row("published", f"{story.published:,} events, {failed:,} attempts failed")
        table.add_row("delivered", f"{scene.seen:,} events")
        table.add_row("lost by Redis", f"{story.lost:,} events")
        table.add_row("gaps told", _gaps(story))
        wrong = len(story.problems)
        table.add_row("wrong", Text(f"{wrong:,}", style="bold red" if wrong else "green"))
        bar = ProgressBar(total=story.seconds, completed=min(story.elapsed, story.seconds))
        minutes = f"{story.elapsed / 60:.1f} of {story.seconds / 60:g} minutes, seed {story.seed}"
        return Group("", table, bar, Text(minutes, style="dim"))


def line(act: Act) -> Text:
    """One act that is over, in one line."""
    lasted = max(act.faults.values())
    if act.recovery is None:
        return Text.assemble(("wrong ", "bold red"), f"{act.name} ({lasted:g} s)")
    lost = act.judgement
    told = f", {lost.lost:,} lost, {lost.unknowable:,} unknown" if lost.lost else ""
    told += f", told without need: {' '.join(lost.unfounded)}" if lost.unfounded else ""
    return Text.assemble(
        ("ok    ", "green"),
        f"{act.name} ({lasted:g} s)",
        (f", over in {act.recovery:.1f} s{told}", "dim"),
    )


def report(story: Story, console: Console) -> None:
    """Say what happened, and what was wrong with it."""
    acts: dict[str, list[Act]] = defaultdict(list)
    for act in story.acts:
        for fault in act.faults:
            acts[fault.name].append(act)
    table = Table(box=None, header_style="dim")
    table.add_column("fault")
    for name in ("times", "no event for, s", "well after, s", "opened anew", "lost", "gaps told"):
        table.add_column(name, justify="right")
    for name, some in sorted(acts.items()):
        well = [act.recovery for act in some if act.recovery is not None]
        table.add_row(
            name,
            str(len(some)),
            f"{median(act.pause for act in some):.1f}, {max(act.pause for act in some):.1f}",
            f"{max(well):.1f}" if well else "never",
            f"{median(act.connects for act in some):g}",
            f"{median(act.judgement.lost for act in some):g}",
            f"{median(act.gaps for act in some):g}",
        )
    console.print("", table, "Median and most, the most, and medians; streams and events.", "")
    scene = story.scene
    console.print(
        f"{story.published:,} events published ({story.broadcasts:,} of them for everyone), "
        f"{scene.producer.failures:,} attempts repeated, {scene.producer.unheard:,} messages lost;"
    )
    console.print(
        f"{scene.seen:,} delivered to {len(scene.followers):,} streams over "
        f"{scene.connects:,} connections; gaps told: {_gaps(story)}."
    )
    if story.lost:
        unknowable = sum(act.judgement.unknowable for act in story.acts)
        console.print(
            f"{story.lost:,} events were acknowledged and lost by Redis; {unknowable:,} times a"
            " stream did not get one, and neither its cursor nor its node knew of it."
        )
    for problem in story.problems[:20]:
        console.print(Text(problem, style="red"))
    if story.problems:
        console.print(f"[bold red]{len(story.problems):,} things are wrong.[/] Seed {story.seed}.")
    else:
        console.print(
            f"[green]Every durable event, once, in order, to every stream.[/] Seed {story.seed}."
        )


def _gaps(story: Story) -> str:
    if not story.gaps:
        return "none"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(story.gaps.items()))
    return f"{reasons}, about {story.missing:,} events"
