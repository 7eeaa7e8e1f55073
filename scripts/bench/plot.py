"""A picture of a result: bars for each unit, and the latency curves."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from scripts.bench.results import Curve, Figure, Result

_WIDTH = 8.0  # inches
_BAR = 0.34  # inches
_CURVES = 2.8  # inches


def plot(result: Result, directory: Path) -> Path | None:
    """Write ``<directory>/<name>.svg``; return its path, or None when there is nothing to see."""
    figures = [figure for figure in result.figures if figure.plotted]
    units = list(dict.fromkeys(figure.unit for figure in figures))
    groups = [[figure for figure in figures if figure.unit == unit] for unit in units]
    heights = [0.7 + _BAR * len(group) for group in groups] + [_CURVES] * bool(result.curves)
    if not heights:
        return None
    # Text stays text, and the same result gives the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "aionotify", "font.size": 9})
    canvas = Canvas(figsize=(_WIDTH, sum(heights) + 0.5), layout="constrained")
    canvas.suptitle(result.title)
    parts = canvas.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, group in zip(parts, groups, strict=False):
        _bars(part, group)
    if result.curves:
        _latency(parts[-1], result.curves)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.name}.svg"
    canvas.savefig(path, metadata={"Date": None})
    return path


def _bars(part: Axes, figures: list[Figure]) -> None:
    labels = [figure.label for figure in figures]
    medians = [figure.median for figure in figures]
    below = [figure.median - min(figure.samples) for figure in figures]
    above = [max(figure.samples) - figure.median for figure in figures]
    rows = range(len(figures))
    part.barh(rows, medians, xerr=[below, above], color="#4c78a8", ecolor="#555555", capsize=2)
    for row, figure in zip(rows, figures, strict=True):
        part.annotate(
            f" {figure.median:,.3g}" if figure.median < 1000 else f" {figure.median:,.0f}",
            (max(figure.samples), row),
            va="center",
        )
        if figure.limit:
            part.plot([figure.limit] * 2, [row - 0.45, row + 0.45], color="#e45756")
    part.set_yticks(rows, labels)
    part.invert_yaxis()
    part.margins(x=0.12)
    part.set_xlabel(figures[0].unit)
    part.spines[["top", "right"]].set_visible(False)


def _latency(part: Axes, curves: list[Curve]) -> None:
    for curve in curves:
        milliseconds = [seconds * 1000 for seconds in curve.quantiles]
        part.plot(milliseconds, range(len(milliseconds)), label=curve.label)
    part.set_xscale("log")
    part.set_xlabel("ms from publishing to arrival")
    part.set_ylabel("% of events")
    part.legend(frameon=False)
    part.spines[["top", "right"]].set_visible(False)
