"""The demo's output on the terminal."""

import asyncio
import signal
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aionotify.config import Config
from aionotify.demo.commands import commands
from aionotify.demo.report import Report
from aionotify.demo.running import running
from aionotify.demo.world import HOST, Ports, World


async def run(config: Config, ports: Ports) -> int:
    """Run the demo and print how to use it; return 0 after Ctrl-C or SIGTERM."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running(config, ports) as world:
        show(world)
        await stop.wait()
    return 0


def show(world: World) -> None:
    """Print the addresses, and commands to try."""
    console = Console(highlight=False)
    console.print()
    places = Table.grid(padding=(0, 3))
    tokens = ", ".join(f"{token} is {user}" for user, token in world.tokens.items())
    places.add_row("  Open", Text(f"{world.shop_url}/", "bold cyan"))
    places.add_row("  Server", world.url)
    places.add_row("  Operator", f"{world.url}/admin (sign in with the key below)")
    places.add_row("  Main host", f"{world.shop_url} ({tokens})")
    places.add_row("  Redis", f"{HOST} port {world.redis_port}")
    console.print(places)
    for does, line in commands(world):
        console.print(f"\n[dim]# {does}[/dim]")
        # No wrapping and no markup, so that it can be copied.
        console.print(Text(line), soft_wrap=True)
    console.print("\nCtrl-C stops everything.\n")


def show_report(report: Report) -> None:
    """Print which user got what, and whether that is correct."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100  # rich would take 80, and wrap
    targets = list(dict.fromkeys(delivery.to for delivery in report.deliveries))
    table = Table("Published with", "", *(f"to {to}" for to in targets), box=box.SIMPLE)
    for way in dict.fromkeys(delivery.way for delivery in report.deliveries):
        row = [delivery for delivery in report.deliveries if delivery.way == way]
        kind = "durable" if way.durable else "ephemeral"
        table.add_row(way.name, kind, *(_cell(each.users, each.ok) for each in row))
    console.print(table)
    console.print(
        "Missed, then received after a reconnect:", _cell(report.resumed, report.resume_ok)
    )
    for problem in report.problems:
        console.print(Text(f"✗ {problem}", "red"), soft_wrap=True)
    if report.problems:
        console.print(Text(f"{len(report.problems)} problems", "bold red"))
    else:
        console.print(Text("Every event reached exactly the right streams", "bold green"))


def _cell(seen: Sequence[str], ok: bool) -> Text:
    text = ", ".join(seen) or "nobody"
    return Text(f"✓ {text}", "green") if ok else Text(f"✗ {text}", "red")
