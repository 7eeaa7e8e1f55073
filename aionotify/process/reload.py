"""SIGHUP: the configuration is read again, and is put in force or refused, all of it.

There is one reload at a time. Signals that come during one, or before the server is ready, lead to
one more, so that what is in force in the end is what there was to read at the last signal. Knows
when and what to tell whom; not what a configuration changes.
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
    """Reloads when it is asked to.

    Args:
        config: what is in force at the start.
        load: reads the configuration as at the start; raises ConfigError.
        tell: told the states of sd_notify(3).

    Attributes:
        config: what is in force.
        problem: when the last reload failed and why, for a status; None if it did not.
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
        """Reload, as soon as `run` gets to it."""
        if self._ended:
            _log.warning("reload ignored, the server is stopping")
        self._asked.set()

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """See `node.Guide`. It is cancelled when the server is about to end."""
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                # Both in one message: what comes after that moment counts as of this reload.
                self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
                await self._reload(adopt, refused)
                self._tell("READY=1")
        finally:
            self._ended = True

    async def _reload(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        try:
            # In a thread: a file may be on a disk that takes its time, and streams do not wait.
            config = await asyncio.to_thread(self._load)
            await adopt(config)
        except ConfigError as error:
            reason = "; ".join(f"{path}: {text}" for path, text in error.problems.items())
            fields = {"source": error.source, "reason": reason}
            _log.error("configuration not reloaded", extra={"fields": fields})
            self._failed(f"{error.source}: {reason}", refused)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on as it is
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
