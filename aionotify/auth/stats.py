"""What authentication counts; the metrics read it.

Counts only: no token, no user.
"""

from dataclasses import dataclass


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
    main_host_seconds: float = 0.0
    """Time spent on the requests that were made, accepted, refused and failed together."""
    stale_accepted: int = 0
    """Let in on an earlier answer because the main host failed."""
    breaker_open: int = 0
    """1 while the main host is taken to be down, otherwise 0."""
    jwt_accepted: int = 0
    jwt_refused: int = 0
    jwks_fetched: int = 0
    jwks_failed: int = 0
    ticket_issued: int = 0
    ticket_accepted: int = 0
    ticket_refused: int = 0

    @property
    def main_host_requests(self) -> int:
        """How often the main host was asked."""
        return self.main_host_accepted + self.main_host_refused + self.main_host_failed
