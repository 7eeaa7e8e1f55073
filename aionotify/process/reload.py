"""Reload: SIGHUP reads the configuration again, and puts all of it in force or none.

Only one reload runs at a time. Signals that arrive during a reload, or before the server is ready,
cause one more, so the configuration in force is the one that existed at the last signal. This
module knows when to reload and what to report, not what a configuration changes.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from aionotify.config import Config
from aionotify.errors import ConfigError
from aionotify.process.signals import on_hangup, on_signal
from aionotify.telemetry import logs

_log = logging.getLogger(__name__)

_SHORT: Final = 200  # characters of a reason in a status, which is one line of a terminal or two


class Reloading:
    """Reloads when asked to.

    Args:
        config: in force at the start.
        load: reads the configuration as at the start; raises ConfigError.
        tell: called with the states of sd_notify(3).

    Attributes:
        config: in force now.
        problem: when and why the last reload failed, for a status; None if it did not.
    """

    def __init__(
        self, config: Config, load: Callable[[], Config], tell: Callable[[str], None]
    ) -> None:
        self.config = config
        self.problem: str | None = None
        self._load = load
        self._tell = tell
        self._asked = asyncio.Event()
        self._ended = False

    def listen(self) -> None:
        """See `node.Guide`. SIGUSR1 changes the log level, until the next reload."""
        on_hangup(self.ask)
        on_signal((signal.SIGUSR1,), lambda: logs.toggle_debug(self.config.log.level))

    def ask(self) -> None:
        """Request a reload; `run` carries it out."""
        if self._ended:
            _log.warning("reload ignored, the server is stopping")
        self._asked.set()

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """See `node.Guide`. It is cancelled when the server stops."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                # Both in one message, as sd_notify(3) wants it.
                self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                await self._reload(adopt, refused)
                self._tell("READY=1")
        finally:
            self._ended = True

    async def _reload(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        try:
            # In a thread: a slow disk must not hold up the streams.
            config = await asyncio.to_thread(self._load)
            await adopt(config)
        except ConfigError as error:
            reason = "; ".join(f"{path}: {text}" for path, text in error.problems.items())
            fields = {"source": error.source, "reason": reason}
            _log.error("configuration not reloaded", extra={"fields": fields})
            self._failed(f"{error.source}: {reason}", refused)
        except Exception as error:  # noqa: BLE001 - the server must go on
            _log.exception("reload failed")
            self._failed(type(error).__name__, refused)
        else:
            self._succeeded(config)

    def _failed(self, reason: str, refused: Callable[[], None]) -> None:
        reason = logs.escaped(reason)
        if len(reason) > _SHORT:
            reason = f"{reason[:_SHORT]}…"
        self.problem = f"Not reloaded at {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}: {reason}"
        refused()

    def _succeeded(self, config: Config) -> None:
        before, self.config = self.config, self.config.reloaded(config)
        self.problem = None
        logs.configure(self.config.log.level, self.config.log.format)
        # Names only: some values are keys.
        names = " ".join(item.path for item in before.changed(self.config))
        _log.info("configuration reloaded", extra={"fields": {"changed": names}})
        if waiting := " ".join(item.path for item in self.config.changed(config)):
            fields = {"settings": waiting}
            _log.warning("settings need a restart", extra={"fields": fields})
