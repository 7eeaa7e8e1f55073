"""Something that is in order or not: readiness asks for it, and the log is told when it changes."""

import logging


class HealthCheck:
    """What is wrong, if anything.

    Args:
        wrong: what the log is told when something begins to be wrong, a constant.
        right: and when nothing is any more.

    Attributes:
        problem: why it is not in order, or None while it is.
    """

    def __init__(self, logger: logging.Logger, *, wrong: str, right: str) -> None:
        self.problem: str | None = None
        self._logger = logger
        self._wrong = wrong
        self._right = right

    def found(self, problem: str | None) -> None:
        """Take note of what is wrong now, None for nothing."""
        before, self.problem = self.problem, problem
        if problem is not None and before is None:
            self._logger.warning(self._wrong, extra={"fields": {"reason": problem}})
        elif problem is None and before is not None:
            self._logger.info(self._right)
