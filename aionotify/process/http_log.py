"""Malformed requests, which are not HTTP: counted, and logged as sampled warnings.

aiohttp logs each as an error, with a traceback that quotes it. So any client could fill the log,
and a quote may contain a token or a ticket. This module knows nothing of what requests are for.
"""

import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from aionotify.telemetry.sampled import Sampled

_log = logging.getLogger(__name__)


class ConnectionLog(logging.LoggerAdapter[logging.Logger]):
    """The logger of aiohttp's connections. It passes on everything but malformed requests.

    Args:
        count: called for each malformed request.
    """

    def __init__(self, count: Callable[[], object] = lambda: None) -> None:
        super().__init__(_log)
        self._count = count
        self._sampled = Sampled(_log)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """See `logging.Logger.log`; all other methods come down to this one."""
        error = kwargs.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self._count()
            self._sampled.warning("malformed request", {"reason": type(error).__name__})
        else:
            super().log(level, msg, *args, **kwargs)
