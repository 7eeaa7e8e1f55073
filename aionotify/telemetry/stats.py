"""What a node counts, as plain numbers.

The modules on the path of an event add to these with `+=`, which costs nothing compared with a
system call; `web.collector` reads them at each scrape. This module does not know Prometheus.
"""

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


class Histogram:
    """Counts observations by size.

    Args:
        bounds: the highest value of each bucket but the last, in ascending order.

    Attributes:
        buckets: observations in each bucket; the last one is for all beyond the bounds.
        sum: of all observations.
    """

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value


def _latency() -> Histogram:
    return Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Stats:
    """Counters of one node since its start; none ever goes down."""

    events_ephemeral: int = 0
    """Ephemeral events received, for any recipient."""
    events_durable: int = 0
    """Durable events received live, for any recipient."""
    notices: int = 0
    """Notices received, for any recipient."""
    notices_dropped: int = 0
    """Notices not written because the stream's socket was full."""
    events_invalid: int = 0
    """Messages from Redis that broke the event contract and were skipped."""
    inboxes_refused: int = 0
    """Reads of an inbox that Redis refused."""
    events_repeated: int = 0
    """Durable events heard after a stream had already read them from the inbox."""
    delivered_live: int = 0
    """Events written to a live stream."""
    delivered_catch_up: int = 0
    """Events written to a stream during a catch-up."""
    dropped_full: int = 0
    """Ephemeral events not written because the stream's socket was full."""
    dropped_no_stream: int = 0
    """Events of the shared channel for users who have no stream here."""
    dropped_expired: int = 0
    """Durable events not written to a stream, or to those that were live, because they were older
    than their `expires_in`."""
    dropped_overload: int = 0
    """Ephemeral events that the node dropped, whoever they were for, because it was far behind."""
    fell_behind: int = 0
    """Times a live stream went back to its inbox because its socket was full."""
    resynced: Counter[str] = field(default_factory=Counter)
    """Times a live stream went back to its inbox because live events may not have been heard, by
    `ResyncReason`."""
    missed: int = 0
    """Times pub/sub was seen to have lost a durable event, which was then read from the inbox."""
    gaps: Counter[str] = field(default_factory=Counter)
    """`aionotify.gap` events sent, by `GapReason`."""
    opened: Counter[str] = field(default_factory=Counter)
    """Streams opened, by `StartKind`."""
    closed: Counter[str] = field(default_factory=Counter)
    """Streams ended, by `CloseReason`."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests answered with an error, by its code."""
    origins_refused: int = 0
    """Requests of pages whose origin is not allowed."""
    published: Counter[str] = field(default_factory=Counter)
    """Events published over HTTP, by outcome: `stored`, `repeated`, `ephemeral`, `refused`,
    `unavailable`."""
    ingested: Counter[str] = field(default_factory=Counter)
    """Entries taken from the Redis stream, by outcome: `stored`, `repeated`, `ephemeral`,
    `rejected`."""
    presence_events: Counter[str] = field(default_factory=Counter)
    """Users who `came` and `went`, as far as it was this node that found out."""
    webhook_posts: Counter[str] = field(default_factory=Counter)
    """Requests to a webhook, by outcome: `delivered`, `failed`."""
    handed_on: Counter[str] = field(default_factory=Counter)
    """Events of users who are away, by outcome: `taken`, `refused`."""
    redis_connects: int = 0
    """Times the subscriber's connection was made."""
    redis_losses: int = 0
    """Times it was lost."""
    latency: Histogram = field(default_factory=_latency)
    """Seconds from publish to write of each durable event that was delivered live."""


@dataclass(slots=True)
class Reloads:
    """The last reload. The start counts as a successful one."""

    successful: bool = True
    at: float = field(default_factory=time.time)
    """When the last successful reload was, in unix seconds."""

    def done(self, *, successful: bool) -> None:
        """Record a reload."""
        self.successful = successful
        if successful:
            self.at = time.time()
