"""The tables of docs/performance.rst, made of a record and put between its markers."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence

from scripts.bench import comparison
from scripts.bench.aims import aims
from scripts.bench.record import Point, Record
from scripts.bench.results import Result

_PLACE = re.compile(r"(\.\. results: (?P<name>[^\n]+)\n\n).*?(\.\. end of results\n)", re.DOTALL)
_OWN = "scenario "
_LEFT_OUT = ("latency p99.9", "latency max", ": lost", ": repeated")
"""Figures that the page has room for only when they should be nothing and are not."""


def filled(text: str, record: Record) -> str:
    """The page, with its tables as `record` has them; scenarios that it has not stay as they are.

    Raises:
        KeyError: it asks for a table that there is not.
    """
    own = {f"{_OWN}{result.name}": result for result in record.own}

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        if name.startswith(_OWN) and name not in own:
            return place[0]
        lines = _own(own[name]) if name in own else TABLES[name](record)
        return f"{place[1]}{lines}\n\n{place[3]}"

    return _PLACE.sub(table, text)


# --- tables ---------------------------------------------------------------------------------------


def _machine(record: Record) -> str:
    busy = ", ".join(f"{value:g} before {name}" for name, value in record.load.items())
    rows = [
        *record.machine.items(),
        ("versions", ", ".join(map(" ".join, record.versions.items()))),
    ]
    lost: dict[str, float] = {}
    for point in record.points:
        if point.what == comparison.LOST:
            several = sum(sample for sample in point.samples if sample > 0)
            lost[point.contender] = lost.get(point.contender, 0) + several
    rows += [("load average", busy), ("begun", record.began)]
    events = ", ".join(f"{who} {count:,.0f}" for who, count in lost.items())
    rows += [("late, lost or repeated", f"events in all rounds: {events}")]
    return "\n".join(f":{name}: {value}" for name, value in rows)


def _memory(record: Record) -> str:
    xs, columns = _over(record.select("streams", comparison.MEMORY))
    kept = {p.contender: [_number(p.median)] for p in record.select("streams", comparison.KEPT)}
    return _rst(
        ["KiB per stream", *_heads(xs), "kept"],
        [[who, *cells, *kept[who]] for who, cells in columns.items()],
    )


def _handshake(record: Record) -> str:
    measured = {point.contender: point for point in comparison.handshakes(record)}
    floor = measured["floor"]
    return _rst(
        ["", "CPU per handshake, µs", "/ floor"],
        [[who, _spread(point.samples), _ratio(point, floor)] for who, point in measured.items()],
    )


def _fanout(record: Record) -> str:
    points = list(record.select("fanout", comparison.CPU))
    xs, columns = _over(points)
    at = {(point.contender, point.x): point for point in points}
    rows = [[who, *cells] for who, cells in columns.items()]
    for who in ("aionotify", "nchan"):
        if who in columns:
            ratios = (_ratio(at[who, x], at["floor", x]) for x in xs)
            rows.append([f"{who} / floor", *ratios])
    return _rst(["CPU per delivery, µs", *_heads(xs)], rows)


def _latency(record: Record) -> str:
    p99 = {(p.contender, p.x): p for p in record.select("load", comparison.P99)}
    p50 = [p for p in record.select("load", comparison.P50) if p.x != comparison.FLOOD]
    xs, columns = _over(
        p50, lambda p: f"{_number(p.median)} / {_number(p99[p.contender, p.x].median)}"
    )
    return _rst(["p50 / p99, ms", *_heads(xs)], [[who, *cells] for who, cells in columns.items()])


def _saturated(record: Record) -> str:
    return _by_quantity(
        record,
        "load",
        comparison.FLOOD,
        (comparison.CPU, comparison.REDIS, comparison.CLIENTS, comparison.RATE),
    )


def _idle(record: Record) -> str:
    points = record.select("streams", comparison.CPU)
    xs, columns = _over([point for point in points if point.contender != "FastAPI"])
    header = ["CPU per delivery, µs", *(f"{x:,.0f} streams" for x in xs)]
    return _rst(header, [[who, *cells] for who, cells in columns.items()])


def _workers(record: Record) -> str:
    quantities = (comparison.CPU, comparison.REDIS, comparison.RATE)
    rates = sorted({p.x for p in record.select("workers", comparison.CPU)}, reverse=True)
    return "\n\n".join(
        f"{f'{rate:,.0f} events a second' if rate else 'As fast as it goes'}:\n\n"
        + _by_quantity(record, "workers", rate, quantities)
        for rate in rates
    )


def _publish(record: Record) -> str:
    rows = []
    for way, label in _WAYS.items():
        scenario = f"publish, {way}"
        for point in record.select(scenario, comparison.PUBLISH):
            [redis] = record.select(scenario, comparison.PUBLISH_REDIS, point.contender)
            [rate] = record.select(scenario, comparison.PUBLISH_RATE, point.contender)
            cells = _spread(point.samples), _number(redis.median), _number(rate.median)
            rows.append([f"{point.contender}, {label}", *cells])
    return _rst(["", comparison.PUBLISH, "of Redis", "events a second"], rows)


def _aims(record: Record) -> str:
    rows = [
        [what, before, aim, _spread(samples), unit]
        for what, before, aim, samples, unit in aims(record)
    ]
    return _rst(["", "before", "aim", "here", ""], rows)


_WAYS = {
    "paced": "a request each, 2,000/s",
    "saturated": "a request each, saturated",
    "lines": "one request of lines",
}

TABLES: dict[str, Callable[[Record], str]] = {
    "machine": _machine,
    "memory": _memory,
    "handshake": _handshake,
    "fanout": _fanout,
    "latency": _latency,
    "saturated": _saturated,
    "idle streams": _idle,
    "workers": _workers,
    "publish": _publish,
    "aims": _aims,
}


def _own(result: Result) -> str:
    rows = []
    for figure in result.figures:
        if figure.label.endswith(_LEFT_OUT) and (figure.limit is None or not figure.median):
            continue
        several = len(figure.samples) > 1
        spread = f"{_number(min(figure.samples))} to {_number(max(figure.samples))}"
        rows.append([figure.label, _number(figure.median), figure.unit, spread if several else ""])
    return f"{result.title}:\n\n" + _rst(["", "median", "", "lowest to highest"], rows)


# --- cells ----------------------------------------------------------------------------------------


def _by_quantity(record: Record, scenario: str, x: float, whats: Sequence[str]) -> str:
    rows: dict[str, list[str]] = {}
    for what in whats:
        for point in record.select(scenario, what):
            if point.x == x:
                rows.setdefault(point.contender, []).append(_spread(point.samples))
    return _rst(["", *whats], [[who, *cells] for who, cells in rows.items()])


def _over(
    points: Iterable[Point], cell: Callable[[Point], str] = lambda point: _number(point.median)
) -> tuple[list[float], dict[str, list[str]]]:
    """All values of x in order, and the cells of each contender for them."""
    points = list(points)
    at = {(point.contender, point.x): point for point in points}
    xs = sorted({point.x for point in points})
    return xs, {
        who: [cell(at[who, x]) if (who, x) in at else "" for x in xs]
        for who in dict.fromkeys(point.contender for point in points)
    }


def _heads(xs: list[float]) -> list[str]:
    return [f"{x:,.0f}" for x in xs]


def _spread(samples: Sequence[float]) -> str:
    median, low, high = map(_number, (statistics.median(samples), min(samples), max(samples)))
    return f"{median} ({low} to {high})"


def _ratio(point: Point, floor: Point) -> str:
    """Of two contenders, round by round: what was noisy was so for both."""
    pairs = zip(point.samples, floor.samples, strict=True)
    return f"{statistics.median(a / b for a, b in pairs):.2f} x"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


def _rst(header: list[str], rows: list[list[str]]) -> str:
    """A simple table; an empty first cell is escaped, as one would continue the row above."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = " ".join("=" * max(width, 1) for width in widths)
    texts = [
        " ".join(
            (cell or "\\").ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([rule, texts[0], rule, *texts[1:], rule])
