"""Pictures of a comparison, one SVG each: readable on a phone, and in a light and a dark page.

Colours are names that a style in the picture gives values to, by what its reader prefers.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from scripts.bench import comparison
from scripts.bench.record import Point, Record

_WIDTH, _HEIGHT, _BAR = 4.2, 3.5, 0.3  # inches; 403 CSS pixels wide

_COLOURS = {
    "paper": ("#010100", "#ffffff", "#131416"),
    "ink": ("#010101", "#1f2328", "#e6edf3"),
    "lines": ("#010102", "#d0d7de", "#3d444d"),
    "floor": ("#010103", "#57606a", "#9da7b3"),
    "aionotify": ("#010104", "#0a58ca", "#79b8ff"),
    "nchan": ("#010105", "#1a7f37", "#56d364"),
    "aiohttp-sse": ("#010106", "#b35900", "#f0a35e"),
    "FastAPI": ("#010107", "#bf2c7f", "#f778ba"),
    comparison.WORKERS: ("#010108", "#6639ba", "#c4a7ff"),
}
"""By what has it: the colour in place of which its name is put, the light one and the dark one."""
_MARKERS = {"floor": "s", "aionotify": "o", "nchan": "^", "aiohttp-sse": "D", "FastAPI": "v"}


def plots(record: Record, directory: Path) -> list[Path]:
    """Write all pictures; return where they are."""
    # Text stays text, and the same record gives the same file.
    mpl.rc("svg", fonttype="none", hashsalt="aionotify")
    mpl.rc("font", size=10)
    mpl.rc("axes", labelcolor=_ink("ink"), edgecolor=_ink("lines"), axisbelow=True)
    mpl.rc("grid", color=_ink("lines"))
    for name in ("text", "xtick", "ytick"):
        mpl.rc(name, color=_ink("ink"))
    directory.mkdir(parents=True, exist_ok=True)
    return [_written(draw(record), directory / f"{name}.svg") for name, draw in PLOTS.items()]


# --- the pictures ---------------------------------------------------------------------------------


def _memory(record: Record) -> Figure:
    figure, [part] = _canvas("KiB of memory per stream, by open streams")
    _lines(part, record.select("streams", comparison.MEMORY))
    part.set_yscale("log")
    return _ticked(figure, part, [1000, 5000, 10_000, 15_000], [1, 2, 5, 10, 20, 50, 100])


def _fanout(record: Record) -> Figure:
    figure, [part] = _canvas("CPU per delivery, µs, by streams that get an event")
    _lines(part, record.select("fanout", comparison.CPU))
    part.set_xscale("log")
    part.set_ylim(bottom=0)
    return _ticked(figure, part, [1, 10, 100, 1000, 5000], [0, 50, 100, 150, 200])


def _latency(record: Record) -> Figure:
    figure, parts = _canvas(
        "ms from publishing to arrival, half of the events", "ms, 99 % of the events", height=2.4
    )
    for part, what in zip(parts, (comparison.P50, comparison.P99), strict=True):
        _lines(part, [p for p in record.select("load", what) if p.x != comparison.FLOOD])
        part.set_xscale("log")
        part.set_yscale("log")
        _ticked(figure, part, [1000, 2000, 5000, 10_000, 20_000, 40_000], [0.1, 1, 10, 100, 1000])
    parts[-1].set_xlabel("events per second, to one stream each")
    return figure


def _saturated(record: Record) -> Figure:
    return _bars(
        ("CPU per delivery, µs", _flooded(record, "load", comparison.CPU)),
        ("deliveries per second", _flooded(record, "load", comparison.RATE)),
    )


def _handshake(record: Record) -> Figure:
    return _bars(("CPU per handshake, µs", comparison.handshakes(record)))


def _publish(record: Record) -> Figure:
    ways = {"paced": "a request each, 2,000/s", "saturated": "… saturated", "lines": "one for all"}
    named = {
        f"{point.contender}, {label}": point
        for way, label in ways.items()
        for point in record.select(f"publish, {way}", comparison.PUBLISH)
    }
    return _bars(("CPU per event, µs", list(named.values())), labels=list(named))


def _workers(record: Record) -> Figure:
    paced = [p for p in record.select("workers", comparison.CPU) if p.x != comparison.FLOOD]
    return _bars(
        ("CPU per event, µs, 5,000 a second", paced),
        ("CPU per event, µs, as fast as it goes", _flooded(record, "workers", comparison.CPU)),
        ("events per second, as fast as it goes", _flooded(record, "workers", comparison.RATE)),
        labels=["1 worker", "2 workers"],
    )


PLOTS: dict[str, Callable[[Record], Figure]] = {
    "memory": _memory,
    "handshake": _handshake,
    "fanout": _fanout,
    "latency": _latency,
    "saturated": _saturated,
    "workers": _workers,
    "publish": _publish,
}


# --- how they are drawn ---------------------------------------------------------------------------


def _flooded(record: Record, scenario: str, what: str) -> list[Point]:
    return [point for point in record.select(scenario, what) if point.x == comparison.FLOOD]


def _ink(name: str) -> str:
    return _COLOURS[name][0]


def _canvas(*titles: str, height: float = _HEIGHT) -> tuple[Figure, list[Axes]]:
    figure = Figure((_WIDTH, height * len(titles) + 0.6), layout="constrained")
    parts = list(figure.subplots(len(titles), 1, squeeze=False)[:, 0])
    for part, title in zip(parts, titles, strict=True):
        part.set_title(title, loc="left", fontsize=10)
        part.set_facecolor("none")
        part.spines[["top", "right"]].set_visible(False)
        part.grid(visible=True, linewidth=0.6)
    return figure, parts


def _lines(part: Axes, points: Iterable[Point]) -> None:
    by_contender: dict[str, list[Point]] = {}
    for point in points:
        by_contender.setdefault(point.contender, []).append(point)
    for contender, line in by_contender.items():
        if contender == comparison.WORKERS:
            continue  # it has a picture of its own
        line.sort(key=lambda point: point.x)
        x, colour = [point.x for point in line], _ink(contender)
        part.fill_between(
            x,
            [min(point.samples) for point in line],
            [max(point.samples) for point in line],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        marker = _MARKERS[contender]
        medians = [point.median for point in line]
        part.plot(x, medians, color=colour, marker=marker, markersize=5, label=contender)


def _ticked(figure: Figure, part: Axes, x: list[float], y: list[float]) -> Figure:
    for axis, ticks in ((part.xaxis, x), (part.yaxis, y)):
        axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
        axis.set_major_formatter(FuncFormatter(_number))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    if not figure.legends:
        figure.legend(
            *part.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )
    return figure


def _bars(*groups: tuple[str, list[Point]], labels: list[str] | None = None) -> Figure:
    figure, parts = _canvas(*(title for title, _ in groups), height=1)
    figure.set_size_inches(_WIDTH, sum(0.7 + _BAR * len(points) for _, points in groups))
    for part, (_, points) in zip(parts, groups, strict=True):
        rows = range(len(points))
        medians = [point.median for point in points]
        below = [point.median - min(point.samples) for point in points]
        above = [max(point.samples) - point.median for point in points]
        part.barh(rows, medians, 0.6, color=[_ink(point.contender) for point in points])
        part.errorbar(
            medians, rows, xerr=[below, above], fmt="none", ecolor=_ink("ink"), elinewidth=1
        )
        for row, point in zip(rows, points, strict=True):
            end = max(point.samples), row
            text = _number(point.median)
            part.annotate(text, end, (4, 0), textcoords="offset points", va="center")
        part.set_yticks(rows, labels or [point.contender for point in points])
        part.set_ylim(len(points) - 0.5, -0.5)
        part.margins(x=0.16)
        part.xaxis.set_visible(False)
        part.grid(visible=False)
        part.spines[["bottom"]].set_visible(False)
    return figure


def _number(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _written(figure: Figure, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None}, facecolor=_ink("paper"))
    text = path.read_text("utf-8")
    light, dark = ({name: each[i] for name, each in _COLOURS.items()} for i in (1, 2))
    for name, (colour, *_) in _COLOURS.items():
        text = text.replace(colour, f"var(--{_variable(name)})")
    dark_style = f"@media(prefers-color-scheme:dark){{:root{{{_values(dark)}}}}}"
    style = f"<style>:root{{{_values(light)}}}{dark_style}</style>"
    head, tag, rest = text.partition(" <defs>")
    path.write_text(f"{head} {style}\n{tag}{rest}", "utf-8")
    return path


def _values(colours: dict[str, str]) -> str:
    return ";".join(f"--{_variable(name)}:{colour}" for name, colour in colours.items())


def _variable(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")
