"""``aionotify top``: watch nodes at work, by their metrics."""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

import aiohttp
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from yarl import URL

from aionotify.auth.http_client import HttpClient, NoAnswer, read_body
from aionotify.cli.local_url import local_url
from aionotify.cli.top_figures import Figures, Scrape, figures, is_up, parse
from aionotify.config import Config

_TIMEOUT: Final = 3.0  # seconds; a node that takes longer to tell how it is doing is not doing well
_SHORTEST: Final = 0.1  # seconds
_LONGEST: Final = 1 << 24  # bytes of an answer; some ten thousand for each worker are usual
_WIDTH: Final = 100  # columns, where the output is no terminal

Found = Mapping[str, Scrape] | str
"""The scrapes of a node, by worker; or why there are none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the nodes, and how often to look."""
    parser.add_argument(
        "urls",
        metavar="URL",
        nargs="*",
        help="address of a node, http://host:port (default from admin.port, or else server.port)",
    )
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=2.0, help="default 2"
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="look twice, print one table, and return 1 if a node is down; as without a terminal",
    )
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace, config: Config) -> int:
    """Show all nodes until Ctrl-C, or once."""
    nodes = _nodes(args.urls, config, args.refuse)
    once = args.once or not sys.stdout.isatty()
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to stop it
        return asyncio.run(_once(nodes, args.interval) if once else _watch(nodes, args.interval))
    return 0


def _interval(text: str) -> float:
    seconds = float(text)
    if not _SHORTEST <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"expected from {_SHORTEST} to 3600 seconds")
    return seconds


def _nodes(urls: Iterable[str], config: Config, refuse: Callable[[str], NoReturn]) -> list[URL]:
    given = list(dict.fromkeys(urls)) or [_own(config, refuse)]
    nodes = []
    for text in given:
        try:
            url = URL(text)
        except ValueError:
            url = URL()
        if url.scheme not in ("http", "https") or not url.host:
            refuse("URL is the address of a node: http://host:port")
        nodes.append(url if url.path != "/" else url.with_path("/metrics"))
    return nodes


def _own(config: Config, refuse: Callable[[str], NoReturn]) -> str:
    server, admin = config.server, config.admin
    host, port = (server.host, server.port) if admin.port is None else (admin.host, admin.port)
    url = local_url(host, port, "/metrics")
    if url is None:
        refuse("the server listens on a Unix socket; give the URL of its proxy")
    return url


async def _once(nodes: Sequence[URL], interval: float) -> int:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    client = HttpClient(_TIMEOUT, len(nodes))
    try:
        before = await _look(client, nodes)
        await asyncio.sleep(interval)
        now = await _look(client, nodes)
    finally:
        await client.close()
    console.print(_screen(before, now))
    return int(any(isinstance(found, str) for found in now.values()))


async def _watch(nodes: Sequence[URL], interval: float) -> int:
    before: Mapping[URL, Found] = {}
    client = HttpClient(_TIMEOUT, len(nodes))
    try:
        with Live(Text("Asking"), screen=True, auto_refresh=False) as live:
            while True:
                now = await _look(client, nodes)
                head = Text(f"aionotify top  {time.strftime('%X')}  every {interval:g} s", "dim")
                live.update(Group(head, _screen(before, now)), refresh=True)
                before = now
                await asyncio.sleep(interval)
    finally:
        await client.close()


async def _look(client: HttpClient, nodes: Sequence[URL]) -> dict[URL, Found]:
    found = await asyncio.gather(*(_scrape(client, node) for node in nodes))
    return dict(zip(nodes, found, strict=True))


async def _scrape(client: HttpClient, node: URL) -> Found:
    try:
        status, body = await client.get(str(node), _read)
        if status != 200:
            return f"it answers {status} to {node.path}"
        return parse((body or b"").decode(), time.monotonic())
    except (NoAnswer, ValueError) as error:
        return str(error)


async def _read(answer: aiohttp.ClientResponse) -> tuple[int, bytes | None]:
    return answer.status, await read_body(answer, _LONGEST)


def _screen(before: Mapping[URL, Found], now: Mapping[URL, Found]) -> Group:
    """Return the table, and below it what is wrong with whom."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    table.add_column("Node", no_wrap=True, ratio=1)
    for head in ("Streams", "Events/s", "Latency", "Lag", "Refused/s", "Slow/s", "Redis"):
        table.add_column(head, justify="right", no_wrap=True)
    rows: list[tuple[str, Figures | str]] = []
    for node, found in now.items():
        name = f"{node.host}:{node.port}"
        if isinstance(found, str):
            rows.append((name, found))
            continue
        earlier = before.get(node, "")
        for worker, scrape in found.items():
            was = None if isinstance(earlier, str) else earlier.get(worker)
            shown = figures(was, scrape) if is_up(scrape) else "the worker does not answer"
            rows.append((f"{name} #{worker}" if worker else name, shown))
    problems = []  # and who is down comes first, in case the screen is too small for all
    for name, each in sorted(rows, key=lambda row: not isinstance(row[1], str)):
        if isinstance(each, str):
            table.add_row(Text(name, "bold red"), Text("down", "bold red"))
            problems.append(f"{name} is down: {each}")
        else:
            table.add_row(name, *_cells(each))
            if each.failing:
                problems.append(f"{name} fails checks of /readyz: {', '.join(each.failing)}")
    return Group(table, *(Text(problem, "red") for problem in problems))


def _cells(shown: Figures) -> Iterable[Text]:
    yield Text(_count(shown.streams))
    yield Text(_count(shown.events))
    yield Text(_duration(shown.latency))
    yield Text(_duration(shown.lag))
    yield Text(_count(shown.refused), "yellow" if shown.refused else "")
    yield Text(_count(shown.slow), "yellow" if shown.slow else "")
    yield Text("lost", "bold red") if shown.redis is None else Text(_duration(shown.redis))


def _count(number: float | None) -> str:
    if number is None:
        return "-"
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e6 if unit == 'M' else 1e3):.1f}{unit}"
    return f"{number:.1f}" if 0 < number < 10 and number != int(number) else f"{number:.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
