"""What a node counts, as plain integers.

The rooms on an event's way add to these with `+=`, which costs nothing beside a system call;
`web.metrics` reads them when somebody asks. Nothing here knows Prometheus.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """Counters of one node since its start; none ever goes down."""

    events_ephemeral: int = 0
    """Events received from the ephemeral channel, whoever they were for."""
    events_durable: int = 0
    """Durable events received live, whoever they were for."""
    events_invalid: int = 0
    """Messages from Redis that broke the event contract and were skipped."""
    events_repeated: int = 0
    """Durable events heard again after they had been read from the inbox: the seam at work."""
    delivered_live: int = 0
    """Events written to a stream as they came."""
    delivered_catch_up: int = 0
    """Events written to a stream from its inbox."""
    dropped_full: int = 0
    """Ephemeral events not written because the stream's socket was full."""
    fell_behind: int = 0
    """Times a live stream went back to its inbox because its socket was full."""
    missed: int = 0
    """Times pub/sub was seen to have lost a durable event, which was then read from the inbox."""
    gaps: Counter[str] = field(default_factory=Counter)
    """`aionotify.gap` told, by reason."""
    resumes: Counter[str] = field(default_factory=Counter)
    """Streams opened, by how: `fresh`, `cursor`, `unknown_cursor`."""
    opened: int = 0
    """Streams opened."""
    closed: Counter[str] = field(default_factory=Counter)
    """Streams ended, by reason."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests refused, by error code."""
    published: Counter[str] = field(default_factory=Counter)
    """Events published over HTTP, by outcome."""
    redis_connects: int = 0
    """Times the listener's connection was made."""
    redis_losses: int = 0
    """Times it was lost."""
    latency_buckets: list[int] = field(default_factory=lambda: [0] * 13)
    """Durable events by time from publish to write; the bounds are in `web.metrics`."""
    latency_sum: float = 0.0
    """Seconds, over all that are in `latency_buckets`."""
