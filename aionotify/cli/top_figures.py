"""What `aionotify top` shows of a node, out of two scrapes of its metrics.

Knows the names of metrics; neither how they are fetched nor what the screen looks like.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

_QUANTILE = 0.99  # what one event in a hundred exceeds


@dataclass(frozen=True, slots=True)
class Scrape:
    """The metrics of one process at one time.

    Attributes:
        at: seconds, by the monotonic clock of whoever has asked.
        series: values by name, then by labels.
    """

    at: float
    series: Mapping[str, Mapping[frozenset[tuple[str, str]], float]]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels."""
        wanted = labels.items()
        return sum(v for each, v in self.series.get(name, {}).items() if wanted <= each)


@dataclass(frozen=True, slots=True)
class Figures:
    """What there is to see of one process.

    Attributes:
        events, refused, slow: per second, between the two scrapes; None without an earlier one.
            Slow are events that were dropped, or streams that went back to their inbox or were
            ended, because a client takes nothing.
        latency, lag: seconds that one of a hundred exceeded between the two scrapes, from publish
            to write and of timers of the event loop; None if there was none.
        redis: seconds that the last probe took through Redis; None if Redis is not heard.
        failing: checks of ``/readyz``.
    """

    streams: float = 0
    events: float | None = None
    latency: float | None = None
    lag: float | None = None
    refused: float | None = None
    slow: float | None = None
    redis: float | None = None
    failing: Sequence[str] = field(default=())


def parse(text: str, at: float) -> dict[str, Scrape]:
    """Return the scrape of each worker, by its number; of ``""`` if there is only one process.

    Raises ValueError if it is not what a node tells.
    """
    found: dict[str, dict[str, dict[frozenset[tuple[str, str]], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                worker = sample.labels.pop("worker", "")
                _check(worker, sample.name, sample.labels)
                found[worker][sample.name][frozenset(sample.labels.items())] = sample.value
    except Exception as error:  # the parser fails with whatever there is
        raise ValueError("it answers with something else than metrics") from error
    workers = sorted(found, key=lambda worker: (len(worker), worker))
    scrapes = {worker: Scrape(at, found[worker]) for worker in workers}
    if not any("aionotify_build_info" in each.series for each in scrapes.values()):
        raise ValueError("it answers with metrics of something else")
    return scrapes


def _check(worker: str, name: str, labels: Mapping[str, str]) -> None:
    """Raise an error where a label is missing or wrong without which there is nothing to show."""
    if worker:
        int(worker)
    if name == "aionotify_check_ok" and not labels["check"].isprintable():
        raise ValueError("it could move the cursor")
    if name.startswith("aionotify_") and name.endswith("_bucket"):
        float(labels["le"])


def is_up(scrape: Scrape) -> bool:
    """Whether a worker has answered; of one that has not there is nothing else."""
    return scrape.value("aionotify_worker_up") > 0 or "aionotify_build_info" in scrape.series


def figures(before: Scrape | None, now: Scrape) -> Figures:
    """Return what there is to see of a process, with rates since `before`."""
    failing = [
        dict(labels)["check"]
        for labels, ok in now.series.get("aionotify_check_ok", {}).items()
        if not ok
    ]
    heard = now.value("aionotify_check_ok", check="redis") > 0
    return Figures(
        streams=now.value("aionotify_streams"),
        events=_rate(before, now, _EVENTS),
        latency=_quantile(before, now, "aionotify_delivery_latency_seconds"),
        lag=_quantile(before, now, "aionotify_event_loop_lag_seconds"),
        refused=_rate(before, now, _REFUSED),
        slow=_rate(before, now, _SLOW),
        redis=now.value("aionotify_redis_probe_seconds") if heard else None,
        failing=sorted(failing),
    )


_Counters = Sequence[tuple[str, Mapping[str, str]]]
_EVENTS: _Counters = (("aionotify_events_delivered_total", {}),)
_REFUSED: _Counters = (
    ("aionotify_requests_refused_total", {}),
    ("aionotify_origins_refused_total", {}),
)
_SLOW: _Counters = (
    ("aionotify_events_dropped_total", {"reason": "socket_full"}),
    ("aionotify_catch_ups_total", {"reason": "socket_full"}),
    ("aionotify_streams_closed_total", {"reason": "stalled"}),
)


def _rate(before: Scrape | None, now: Scrape, counters: _Counters) -> float | None:
    if before is None:
        return None
    grown = sum(now.value(n, **labels) - before.value(n, **labels) for n, labels in counters)
    return max(0.0, grown / (now.at - before.at))  # a node that was restarted begins at 0


def _quantile(before: Scrape | None, now: Scrape, name: str) -> float | None:
    """As histogram_quantile() in PromQL, of what was observed since `before`."""
    if before is None:
        return None
    earlier = before.series.get(f"{name}_bucket", {})
    buckets = sorted(
        (float(dict(labels)["le"]), count - earlier.get(labels, 0.0))
        for labels, count in now.series.get(f"{name}_bucket", {}).items()
    )
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank, below, low = _QUANTILE * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / (count - below)
        below, low = count, bound
    return low
