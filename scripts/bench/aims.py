"""What aionotify was to cost, and what it cost before, beside what was found."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from scripts.bench import comparison
from scripts.bench.record import Point, Record

_OURS = "aionotify"

Found = tuple[Sequence[float], str]
"""Samples, and what they are."""


def aims(record: Record) -> list[tuple[str, str, str, Sequence[float], str]]:
    """What it is, what it was, the aim, the samples that were found, and their unit."""
    rows = []
    for what, was, aim, found in _AIMS:
        with suppress(ValueError):  # a short run has not got everything
            rows.append((what, was, aim, *found(record)))
    return rows


def _cost(scenario: str, x: float, what: str = comparison.CPU) -> Callable[[Record], Found]:
    return lambda record: (_point(record, scenario, x, what).samples, _unit(what))


def _above_floor(scenario: str, x: float) -> Callable[[Record], Found]:
    def found(record: Record) -> Found:
        ours = _point(record, scenario, x, comparison.CPU)
        floor = _point(record, scenario, x, comparison.CPU, "floor")
        pairs = zip(ours.samples, floor.samples, strict=True)
        return [a - b for a, b in pairs], "µs above the floor"

    return found


def _ratio(
    scenario: str, what: str, over: tuple[str, float], under: tuple[str, float]
) -> Callable[[Record], Found]:
    def found(record: Record) -> Found:
        above, below = (
            _point(record, scenario, x, what, contender).samples for contender, x in (over, under)
        )
        return [a / b for a, b in zip(above, below, strict=True)], "x"

    return found


def _own(scenario: str, label: str) -> Callable[[Record], Found]:
    def found(record: Record) -> Found:
        [result] = [each for each in record.own if each.name == scenario]
        [figure] = [each for each in result.figures if each.label == label]
        return figure.samples, figure.unit

    return found


def _published(way: str) -> Callable[[Record], Found]:
    return _cost(f"publish, {way}", 1, comparison.PUBLISH)


def _point(record: Record, scenario: str, x: float, what: str, contender: str = _OURS) -> Point:
    [point] = [each for each in record.select(scenario, what, contender) if each.x == x]
    return point


def _unit(what: str) -> str:
    return what.rpartition(", ")[2]


_MOST = comparison.Size().steps[-1]
_FEW = comparison.Size().steps[0]
_AIMS: list[tuple[str, str, str, Callable[[Record], Found]]] = [
    ("idle stream", "18.1", "4", _cost("streams", 5000, comparison.MEMORY)),
    ("kept of a stream that has closed", "18", "4", _cost("streams", _MOST, comparison.KEPT)),
    ("to one user, 5,000 a second", "8", "2.5", _above_floor("load", 5000)),
    ("to one user, saturated", "11.5", "9.5", _cost("load", comparison.FLOOD)),
    ("to one user, saturated", "", "", _above_floor("load", comparison.FLOOD)),
    ("to one user's 1,000 streams", "9.6", "6", _cost("fanout", 1000)),
    ("to everyone", "9.0", "7", _cost("fanout", 5000)),
    ("to everyone", "", "", _above_floor("fanout", 5000)),
    ("durable / ephemeral", "1.16", "1.15", _own("durable", "durable / ephemeral")),
    (
        f"beside {_MOST:,} streams / beside {_FEW:,}",
        "",
        "1.1",
        _ratio("streams", comparison.CPU, (_OURS, _MOST), (_OURS, _FEW)),
    ),
    (
        "2 workers / 1, 5,000 a second",
        "1.4 to 1.6",
        "1.1",
        _ratio("workers", comparison.CPU, (comparison.WORKERS, 5000), (_OURS, 5000)),
    ),
    (
        "2 workers / 1, saturated",
        "1.3",
        "1.1",
        _ratio("workers", comparison.CPU, (comparison.WORKERS, 0), (_OURS, 0)),
    ),
    (
        "events per second, 2 workers / 1",
        "",
        "1.8",
        _ratio("workers", comparison.RATE, (comparison.WORKERS, 0), (_OURS, 0)),
    ),
    (
        "handshake, main host asked",
        "540",
        "440",
        _own("handshake", "main host, asked each time: CPU per handshake"),
    ),
    (
        "handshake, main host remembered",
        "280",
        "220",
        _own("handshake", "main host, cached: CPU per handshake"),
    ),
    ("published by a request, 2,000 a second", "360", "280", _published("paced")),
    ("published by a request, saturated", "142", "110", _published("saturated")),
    ("published by lines of one request", "", "35", _published("lines")),
]
