"""GET /metrics, for Prometheus."""

from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aionotify.web.services import SERVICES, Services


async def metrics(request: web.Request) -> web.Response:
    """What this process has counted."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(NodeCollector(request.config_dict[SERVICES]))
    return web.Response(
        body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )


class NodeCollector(Collector):
    """Reads the plain counters of one instance whenever somebody asks."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        stats = self._services.stats
        yield GaugeMetricFamily("aionotify_streams", "Open streams.", value=len(self._services.hub))
        yield _counter(
            "events_received",
            "Events from Redis.",
            "kind",
            {
                "ephemeral": stats.events_ephemeral,
                "durable": stats.events_durable,
                "invalid": stats.events_invalid,
                "repeated": stats.events_repeated,
            },
        )
        yield _counter(
            "events_delivered",
            "Events written to a stream.",
            "from",
            {
                "live": stats.delivered_live,
                "inbox": stats.delivered_catch_up,
            },
        )
        yield _counter(
            "events_dropped",
            "Ephemeral events not written.",
            "reason",
            {
                "socket_full": stats.dropped_full,
            },
        )
        yield _counter(
            "catch_ups",
            "Streams sent back to their inbox.",
            "reason",
            {
                "socket_full": stats.fell_behind,
                "missed": stats.missed,
            },
        )
        yield _counter("gaps", "Gaps told to clients.", "reason", stats.gaps)
        yield _counter("streams_opened", "Streams opened.", "start", stats.resumes)
        yield _counter("streams_closed", "Streams ended.", "reason", stats.closed)
        yield _counter("requests_refused", "Requests refused.", "code", stats.refused)
        yield _counter("published", "Events published over HTTP.", "outcome", stats.published)
        yield GaugeMetricFamily(
            "aionotify_redis_heard",
            "1 while live events are heard from Redis.",
            value=self._services.listener.problem is None,
        )
        yield GaugeMetricFamily(
            "aionotify_redis_lag_seconds",
            "Time of the last probe through Redis and back.",
            value=self._services.listener.lag,
        )
        yield _counter(
            "redis_connections",
            "The listener's connection to Redis.",
            "what",
            {
                "made": stats.redis_connects,
                "lost": stats.redis_losses,
            },
        )


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"aionotify_{name}", text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
