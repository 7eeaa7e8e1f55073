"""What authentication counts; the metrics read it.

Counts only: no token, no user.
"""

from dataclasses import dataclass, field

from aionotify.telemetry.stats import Histogram


def _latency() -> Histogram:
    # Up to the longest `auth.main_host.timeout` there can be: the buckets of all nodes are the
    # same, so that they can be added up.
    return Histogram(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class AuthStats:
    """Outcomes by who gave the answer. All only grow, but for `breaker_open`."""

    cache_accepted: int = 0
    cache_refused: int = 0
    main_host_accepted: int = 0
    main_host_refused: int = 0
    main_host_failed: int = 0
    """Asked, but the answer was late, missing or nonsense."""
    main_host_spared: int = 0
    """Not asked: the breaker was open, or too much was waiting already."""
    main_host_latency: Histogram = field(default_factory=_latency)
    """Seconds that the requests which were made took, accepted, refused and failed together."""
    stale_accepted: int = 0
    """Let in on an earlier answer because the main host failed."""
    answer_store_accepted: int = 0
    """Let in on what the main host had answered at another node, or before a restart."""
    breaker_open: int = 0
    """1 while the main host is taken to be down, otherwise 0."""
    jwt_accepted: int = 0
    jwt_refused: int = 0
    jwks_fetched: int = 0
    jwks_failed: int = 0
    ticket_issued: int = 0
    ticket_accepted: int = 0
    ticket_refused: int = 0
