"""How the process logs: one line an event on standard error, text or JSON.

Only the command line calls `configure`: inside somebody else's application logging is theirs.
Records carry their data beside a constant message, in ``extra={"fields": {...}}``.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

_log = logging.getLogger(__name__)

_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)


def configure(
    level: str,
    format: str,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send what every logger says to `stream`, standard error by default.

    `level` and `format` are what `log.level` and `log.format` may be.
    """
    stream = stream or sys.stderr
    formatter = JSONFormatter() if format == "json" else TextFormatter()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter(formatter) if _is_journal(stream, environ) else formatter)
    logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Log what is of `level` and above, one that `log.level` may be."""
    logging.getLogger().setLevel(level.upper())
    # asyncio names its selector at level debug, for each loop.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))


def toggle_debug(configured: str) -> str:
    """Log at level debug, or no longer: as configured, or at info. Return the level."""
    usual = "info" if configured == "debug" else configured
    level = usual if logging.getLogger().level == logging.DEBUG else "debug"
    set_level(level)
    _log.warning("log level changed", extra={"fields": {"level": level}})
    return level


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO aionotify.web: stream opened user=42``.

    A traceback follows in lines that are indented, so that no line of it can pass for a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, with whatever is not printable in it escaped."""
        head = f"{_time(record)} {record.levelname} {record.name}: {escaped(record.getMessage())}"
        pairs = (f" {escaped(key)}={_text(value)}" for key, value in _fields(record).items())
        below = ("\n  " + escaped(line) for line in _traceback(self, record).split("\n") if line)
        return head + "".join(pairs) + "".join(below)


class JSONFormatter(logging.Formatter):
    """One object a line: `ts` (RFC 3339), `level`, `logger`, `message`, `fields`, `exc`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of `record`; `fields` and `exc` are there when there are any."""
        line: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if fields := _fields(record):
            line["fields"] = fields
        if exc := _traceback(self, record):
            line["exc"] = exc
        return json.dumps(line, default=str)  # ASCII: no line separator gets through


class JournalFormatter(logging.Formatter):
    """Puts the priority before each line, as journald wants it (sd-daemon(3))."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return what the inner formatter makes of `record`, each line with ``<priority>``."""
        start = f"<{_PRIORITY.get(record.levelname, 6)}>"
        return start + self._inner.format(record).replace("\n", f"\n{start}")


def escaped(text: str) -> str:
    """Return `text` with every character that could move the cursor or start a line escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _text(value: object) -> str:
    text = escaped(str(value))
    # Quoted when it would otherwise look like several fields, or none.
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    # The variable is inherited by whatever a service starts; only the file tells (systemd.exec(5)).
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
