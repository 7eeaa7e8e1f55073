"""The command line: which scenarios to run, how long, and where the results go."""

import argparse
import asyncio
import platform
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from scripts.bench import control
from scripts.bench.comparison import QUICK, Comparison, Size
from scripts.bench.lab import Options, lab
from scripts.bench.load import LoadFailed
from scripts.bench.page import filled
from scripts.bench.post import PostFailed
from scripts.bench.record import Record
from scripts.bench.record import new as record_of
from scripts.bench.results import Result
from scripts.bench.scenarios import SCENARIOS

_PAGE = Path(__file__).parents[2] / "docs" / "performance.rst"
_FULL = Options(
    streams=5000,
    resumed=10_000,
    handshakes=1000,
    published=20_000,
    rate=5000,
    durable_rate=2000,
    broadcasts=5,
    rounds=3,
    seconds=2,
    loop="auto",
    log_level="warning",
)
_QUICK: dict[str, Any] = {
    "streams": 1000,
    "resumed": 1000,
    "handshakes": 300,
    "published": 5000,
    "rounds": 3,
    "seconds": 0.5,
}


def main() -> int:
    """Run what the command line asks for; 1 when something is above what it should be."""
    arguments = _parser().parse_args()
    options = replace(_FULL, **_QUICK) if arguments.quick else _FULL
    given = {name: getattr(arguments, name) for name in Options.__dataclass_fields__}
    options = replace(options, **{k: v for k, v in given.items() if v is not None})
    console = Console()
    if not console.is_terminal:
        console.width = 110
    if arguments.scenarios == ["page"]:
        record = msgspec.json.decode(_results(arguments.page).read_bytes(), type=Record)
        _written(record, arguments.page)
        return 0
    results: list[Result] = []
    compared = None
    if arguments.scenarios == ["all"]:
        arguments.scenarios = []
        if arguments.go_on:
            compared = msgspec.json.decode(_results(arguments.page).read_bytes(), type=Record)
        else:
            compared = record_of(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    failed = True
    try:
        with asyncio.Runner(loop_factory=control.loop_factory("auto")) as runner:
            runner.run(_run(arguments, options, console, results, compared))
        if compared is not None:
            compared.own = results
            _written(compared, arguments.page)
        failed = False
    except KeyboardInterrupt:
        return 130
    except TimeoutError:
        console.print(f"[red]failed:[/] not done in {arguments.timeout:.0f} s, see --timeout")
    except (control.ChildFailed, LoadFailed, PostFailed, OSError) as error:
        console.print(f"[red]failed:[/] {escape(str(error))}")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    above = [figure for result in results for figure in result.figures if not figure.within]
    return 1 if failed or above else 0


async def _run(
    arguments: argparse.Namespace,
    options: Options,
    console: Console,
    results: list[Result],
    compared: Record | None,
) -> None:
    console.print(
        f"{platform.python_implementation()} {platform.python_version()}, loop {options.loop},"
        f" {options.streams:,} streams, {options.rounds} rounds"
    )
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
        names = arguments.scenarios or list(SCENARIOS)
        task = progress.add_task("starting Redis", total=len(names))
        async with asyncio.timeout(arguments.timeout):
            if compared is not None:
                size = QUICK if arguments.quick else Size()

                def compare(text: str) -> None:
                    progress.update(task, description=text)
                    if not console.is_terminal:
                        console.print(f"{datetime.now(UTC):%H:%M:%S} {text}")

                def keep() -> None:
                    _kept(compared, arguments.page)

                await Comparison(compared, size, compare, keep).run()
            for name in names:

                def step(text: str, name: str = name) -> None:
                    progress.update(task, description=f"{name}: {text}")

                began = time.monotonic()
                async with lab(options, step) as laboratory:
                    result = await SCENARIOS[name](laboratory)
                results.append(result)
                if compared is not None:
                    compared.own = results
                    _kept(compared, arguments.page)
                progress.console.print(_table(result), f"{time.monotonic() - began:.0f} s\n")
                progress.advance(task)


def _table(result: Result) -> Table:
    table = Table(title=result.title, title_justify="left")
    table.add_column("")
    for heading in ("median", "lowest", "highest", "at most"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in result.figures:
        several = len(figure.samples) > 1
        table.add_row(
            figure.label,
            _number(figure.median) if figure.within else f"[red]{_number(figure.median)}[/]",
            _number(min(figure.samples)) if several else "",
            _number(max(figure.samples)) if several else "",
            "" if figure.limit is None else _number(figure.limit),
            figure.unit,
        )
    return table


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def _written(record: Record, page: Path) -> None:
    """Put the tables of a record into a page, and the record and its pictures beside it."""
    from scripts.bench.plot import plots  # matplotlib takes half a second, and is an extra

    _kept(record, page)
    plots(record, _results(page).parent)
    page.write_text(filled(page.read_text("utf-8"), record), "utf-8")


def _kept(record: Record, page: Path) -> None:
    _results(page).parent.mkdir(exist_ok=True)
    _results(page).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def _results(page: Path) -> Path:
    return page.parent / "plots" / "results.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench/run", description="Measures what a node costs, beside bare baselines."
    )
    scenarios = {
        name: (scenario.__doc__ or "").strip().partition("\n")[0]
        for name, scenario in SCENARIOS.items()
    }
    parser.epilog = "scenarios: " + "; ".join(f"{name}: {doc}" for name, doc in scenarios.items())
    parser.epilog += (
        " Or all: every one, and a comparison with other servers, told in docs/performance.rst."
        " Or page: those again, of what the last run of all has found."
    )
    parser.add_argument(
        "scenarios", nargs="*", metavar="SCENARIO", help="which; every one without any, see below"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--streams", type=int, help=f"open streams ({_FULL.streams})")
    parser.add_argument("--resumed", type=int, help=f"streams that come back ({_FULL.resumed})")
    parser.add_argument("--handshakes", type=int, help=f"in a round ({_FULL.handshakes})")
    parser.add_argument("--published", type=int, help=f"in a round of publish ({_FULL.published})")
    parser.add_argument("--rate", type=float, help=f"ephemeral events per second ({_FULL.rate})")
    parser.add_argument("--durable-rate", type=float, help=f"({_FULL.durable_rate})")
    parser.add_argument("--broadcasts", type=float, help=f"per second ({_FULL.broadcasts})")
    parser.add_argument("--rounds", type=int, help=f"of each measurement ({_FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of a round ({_FULL.seconds})")
    parser.add_argument("--loop", choices=("auto", "uvloop", "asyncio"), help="of the server")
    parser.add_argument("--log-level", choices=("info", "warning"), help="of the server")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for all of it (3600)")
    parser.add_argument(
        "--page", type=Path, default=_PAGE, help="for the tables of all (docs/performance.rst)"
    )
    parser.add_argument("--go-on", action="store_true", help="with all: where the last run stopped")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
