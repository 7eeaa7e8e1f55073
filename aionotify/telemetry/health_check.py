"""A health check: readiness reads it, and it logs each change."""

import logging


class HealthCheck:
    """The result of one check.

    Args:
        wrong: the message, a constant, to log when the check begins to fail.
        right: the message to log when it passes again.

    Attributes:
        problem: why the check fails, or None while it passes.
    """

    def __init__(self, logger: logging.Logger, *, wrong: str, right: str) -> None:
        self.problem: str | None = None
        self._logger = logger
        self._wrong = wrong
        self._right = right

    def found(self, problem: str | None) -> None:
        """Record what is wrong now; None for nothing."""
        before, self.problem = self.problem, problem
        if problem is not None and before is None:
            self._logger.warning(self._wrong, extra={"fields": {"reason": problem}})
        elif problem is None and before is not None:
            self._logger.info(self._right)
