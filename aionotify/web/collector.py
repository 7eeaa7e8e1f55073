"""The metrics of one process for Prometheus, read from plain counters at each scrape.

Every series that is known in advance exists from the start: a series that begins with its first
event has no increase, and an alert on it would not fire. docs/operations.rst explains each metric.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.registry import Collector

from aionotify._version import __version__
from aionotify.events.page import GapReason
from aionotify.streams.reasons import CloseReason, ResyncReason, StartKind
from aionotify.telemetry import logs
from aionotify.telemetry.stats import Histogram
from aionotify.web.health import problems
from aionotify.web.process_metrics import process_metrics
from aionotify.web.services import Services

_OTHER: Final = "other"  # an authenticator of an application may refuse with any status
_CODES: Final = (
    *("credentials_missing", "invalid_scheme", "invalid_token", "forbidden", "bad_request"),
    *("not_found", "method_not_allowed", "request_timeout"),
    *("auth_unavailable", "auth_failed", "too_many_streams", "node_full", "redis_unavailable"),
    *("group_not_granted", "memberships_off", "group_granted", "group_full", "not_a_member"),
    *("invalid_event", "too_large", "unsupported_media_type", "publish_overloaded"),
    "event_not_found",
    *("internal_error", "malformed", _OTHER),
)
_PUBLISHED: Final = ("stored", "repeated", "ephemeral", "refused", "unavailable")
_PRESENCE: Final = ("came", "went")
_POSTS: Final = ("delivered", "failed")
_INGESTED: Final = ("stored", "repeated", "ephemeral", "rejected")
_HANDED_ON: Final = ("taken", "refused")


class NodeCollector(Collector):
    """Reads the counters of one instance and of its process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._platform = PlatformCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        yield from self._streams()
        yield from self._events()
        yield from self._auth()
        yield from self._redis()
        yield from self._process()

    def _streams(self) -> Iterator[Metric]:
        hub, stats = self._services.hub, self._services.stats
        yield GaugeMetricFamily("aionotify_streams", "Open streams.", len(hub))
        yield GaugeMetricFamily(
            "aionotify_users_online", "Users with an open stream here.", hub.users
        )
        yield _counter(
            "streams_opened", "Streams opened.", ["start"], _known(stats.opened, StartKind)
        )
        yield _counter(
            "streams_closed", "Streams ended.", ["reason"], _known(stats.closed, CloseReason)
        )
        yield _counter(
            "requests_refused",
            "Requests answered with an error.",
            ["code"],
            _refused(stats.refused),
        )
        yield _plain_counter(
            "origins_refused",
            "Requests of pages whose origin is not allowed.",
            stats.origins_refused,
        )
        yield GaugeMetricFamily(
            "aionotify_buffered_bytes",
            "Bytes in this process that clients have not taken yet.",
            sum(stream.buffered() for stream in hub.streams()),
        )

    def _events(self) -> Iterator[Metric]:
        stats = self._services.stats
        yield _counter(
            "events_received",
            "Events received from Redis.",
            ["kind"],
            {
                "ephemeral": stats.events_ephemeral,
                "durable": stats.events_durable,
                "notice": stats.notices,
            },
        )
        yield _counter(
            "events_delivered",
            "Events written to streams, once for each stream.",
            ["source"],
            {"live": stats.delivered_live, "inbox": stats.delivered_catch_up},
        )
        yield _counter(
            "events_dropped",
            "Events not written to a stream, or to any stream.",
            ["kind", "reason"],
            {
                ("ephemeral", "socket_full"): stats.dropped_full,
                ("ephemeral", "no_stream"): stats.dropped_no_stream,
                ("durable", "expired"): stats.dropped_expired,
                ("ephemeral", "overload"): stats.dropped_overload,
                ("durable", "repeated"): stats.events_repeated,
                ("notice", "socket_full"): stats.notices_dropped,
                ("unknown", "invalid"): stats.events_invalid,
            },
        )
        yield _plain_counter(
            "events_missed",
            "Durable events that pub/sub lost and that streams then read from the inbox.",
            stats.missed,
        )
        yield _plain_counter(
            "inbox_reads_refused", "Reads of an inbox that Redis refused.", stats.inboxes_refused
        )
        yield _histogram(
            "delivery_latency_seconds",
            "Time from publish to write of durable events, including the difference between the"
            " clocks of Redis and this machine.",
            stats.latency,
        )
        yield _counter(
            "catch_ups",
            "Live streams sent back to their inbox.",
            ["reason"],
            {"socket_full": stats.fell_behind, **_known(stats.resynced, ResyncReason)},
        )
        yield _counter(
            "gaps",
            "aionotify.gap events sent to clients.",
            ["reason"],
            _known(stats.gaps, GapReason),
        )
        yield _counter(
            "events_published",
            "Events published over HTTP.",
            ["outcome"],
            _known(stats.published, _PUBLISHED),
        )
        ingest = self._services.ingest
        yield _counter(
            "ingested_entries",
            "Entries taken from the Redis stream of events.",
            ["outcome"],
            _known(stats.ingested, _INGESTED),
        )
        yield GaugeMetricFamily(
            "aionotify_ingest_backlog", "Entries in the Redis stream of events.", ingest.backlog
        )
        yield GaugeMetricFamily(
            "aionotify_ingest_lag_seconds",
            "Time since the first entry in the Redis stream of events was added.",
            ingest.lag,
        )
        yield _counter(
            "handed_on_events",
            "Events of users who were away, by what became of them.",
            ["outcome"],
            _known(stats.handed_on, _HANDED_ON),
        )
        yield GaugeMetricFamily(
            "aionotify_hand_on_lag_seconds",
            "Time since the first event was due that was handed on last.",
            hand_on.lag if (hand_on := self._services.hand_on) else 0,
        )
        yield GaugeMetricFamily(
            "aionotify_publish_bytes",
            "Bytes of the publish requests that are under way.",
            self._services.publish_bytes.held,
        )

        yield _counter(
            "presence_events",
            "Users who came and went, as far as this node found out.",
            ["event"],
            _known(stats.presence_events, _PRESENCE),
        )
        yield _counter(
            "webhook_posts",
            "Requests to a webhook.",
            ["outcome"],
            _known(stats.webhook_posts, _POSTS),
        )

    def _auth(self) -> Iterator[Metric]:
        stats = self._services.auth_stats
        yield _counter(
            "auth_answers",
            "Tokens and tickets checked, by source of the answer.",
            ["source", "outcome"],
            {
                ("cache", "accepted"): stats.cache_accepted,
                ("cache", "refused"): stats.cache_refused,
                ("main_host", "accepted"): stats.main_host_accepted,
                ("main_host", "refused"): stats.main_host_refused,
                ("main_host", "failed"): stats.main_host_failed,
                ("main_host", "not_asked"): stats.main_host_spared,
                ("answer_store", "accepted"): stats.answer_store_accepted,
                ("stale", "accepted"): stats.stale_accepted,
                ("jwt", "accepted"): stats.jwt_accepted,
                ("jwt", "refused"): stats.jwt_refused,
                ("ticket", "accepted"): stats.ticket_accepted,
                ("ticket", "refused"): stats.ticket_refused,
            },
        )
        yield _histogram(
            "main_host_request_seconds",
            "Time that requests to the main host took.",
            stats.main_host_latency,
        )
        yield GaugeMetricFamily(
            "aionotify_main_host_breaker_open",
            "1 while the node does not ask the main host because it failed.",
            stats.breaker_open,
        )
        yield _counter(
            "jwks_fetches",
            "Key sets requested.",
            ["outcome"],
            {"fetched": stats.jwks_fetched, "failed": stats.jwks_failed},
        )
        yield _plain_counter("tickets_issued", "Tickets issued.", stats.ticket_issued)

    def _redis(self) -> Iterator[Metric]:
        stats = self._services.stats
        yield _plain_counter(
            "redis_connects",
            "Times the node made its subscriber connection.",
            stats.redis_connects,
        )
        yield _plain_counter(
            "redis_losses", "Times the node lost its subscriber connection.", stats.redis_losses
        )
        yield GaugeMetricFamily(
            "aionotify_redis_probe_seconds",
            "Time that the last probe took through Redis' pub/sub and back.",
            self._services.subscriber.lag,
        )

    def _process(self) -> Iterator[Metric]:
        checks = GaugeMetricFamily(
            "aionotify_check_ok", "1 while this check of /readyz passes.", labels=["check"]
        )
        for name, problem in problems(self._services).items():
            checks.add_metric([name], problem is None)
        yield checks
        reloads = self._services.reloads
        yield GaugeMetricFamily(
            "aionotify_config_last_reload_successful",
            "1 when the last configuration that was read is in force, 0 when it was refused.",
            reloads.successful,
        )
        yield GaugeMetricFamily(
            "aionotify_config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in unix time.",
            reloads.at,
        )
        yield _histogram(
            "event_loop_lag_seconds",
            "How late a timer of the event loop was.",
            self._services.heartbeat.lag,
        )
        build = GaugeMetricFamily("aionotify_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield _plain_counter(
            "log_lines_lost", "Lines of the log that could not be written.", logs.lost_lines()
        )
        yield from self._platform.collect()
        yield from process_metrics()


def _refused(counted: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of `_CODES`: a series that begins with its first refusal would hide it."""
    refused = dict.fromkeys(_CODES, 0)
    for code, count in counted.items():
        refused[code if code in refused else _OTHER] += count
    return refused


def _known(counted: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    return {**dict.fromkeys(names, 0), **counted}


def _counter(
    name: str,
    text: str,
    labels: list[str],
    values: Mapping[str, int] | Mapping[tuple[str, str], int],
) -> Metric:
    family = CounterMetricFamily(f"aionotify_{name}", text, labels=labels)
    for value, count in values.items():
        family.add_metric([value] if isinstance(value, str) else value, count)
    return family


def _plain_counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"aionotify_{name}", text, value)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, total = [], 0
    for bound, count in zip((*histogram.bounds, "+Inf"), histogram.buckets, strict=True):
        total += count
        buckets.append((str(bound), total))
    return HistogramMetricFamily(f"aionotify_{name}", text, buckets, histogram.sum)
