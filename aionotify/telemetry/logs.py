"""How the process logs: one line per log event on standard error, text or JSON.

Only the command line calls `configure`: an embedding application sets up its own logging. Records
have a constant message, and their data in ``extra={"fields": {...}}``.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from aionotify.telemetry.log_output import LogOutput

_log = logging.getLogger(__name__)

_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # syslog(3)


def configure(
    level: str,
    format: str,
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send the records of every logger to `stream`, standard error by default.

    `level` and `format` are what `log.level` and `log.format` may be.
    """
    stream = stream or sys.stderr
    formatter = JSONFormatter() if format == "json" else TextFormatter()
    handler = _handler(stream)
    handler.setFormatter(JournalFormatter(formatter) if _is_journal(stream, environ) else formatter)
    if handler not in logging.getLogger().handlers:
        logging.basicConfig(handlers=[handler], force=True)
    set_level(level)


def lost_lines() -> int:
    """Return how many lines this process could not write; 0 where logging is somebody else's."""
    return sum(handler.lost for handler in _outputs())


def set_level(level: str) -> None:
    """Log `level` and above; `level` is a value of `log.level`."""
    logging.getLogger().setLevel(level.upper())
    # At level debug, asyncio logs its selector for each loop.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))


def toggle_debug(configured: str) -> str:
    """Switch to level debug, or back to the configured level or info; return the level."""
    usual = "info" if configured == "debug" else configured
    level = usual if logging.getLogger().level == logging.DEBUG else "debug"
    set_level(level)
    _log.warning("log level changed", extra={"fields": {"level": level}})
    return level


def show_fields() -> None:
    """Put the fields of what our loggers are given into the messages too, for other formatters.

    Where the log is ours, our own formatter writes them: then nothing is done for each line.
    """
    if _outputs():
        return
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith("aionotify") and isinstance(logger, logging.Logger):
            logger.addFilter(_with_fields)


def _with_fields(record: logging.LogRecord) -> bool:
    """Put the fields of `record` into its message; a filter that passes all."""
    if (fields := _fields(record)) and not hasattr(record, "bare"):
        record.__dict__["bare"] = record.getMessage()
        # Still constant, for those who count by it.
        record.msg = f"{record.msg if record.args else str(record.msg).replace('%', '%%')}%s"
        record.args = (*(record.args or ()), _Pairs(fields))
    return True


def bare(record: logging.LogRecord) -> str:
    """Return the message of `record` without its fields."""
    return getattr(record, "bare", None) or record.getMessage()


class _Pairs:
    """`` key=value`` for each field, put together only when somebody looks."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return "".join(f" {escaped(key)}={_text(value)}" for key, value in self._fields.items())


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO aionotify.web: stream opened user=42``.

    A traceback follows in indented lines, so that none of them looks like a record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, with unprintable characters escaped."""
        head = f"{_time(record)} {record.levelname} {record.name}: {escaped(bare(record))}"
        below = ("\n  " + escaped(line) for line in _traceback(self, record).split("\n") if line)
        return f"{head}{_Pairs(_fields(record))}{''.join(below)}"


class JSONFormatter(logging.Formatter):
    """One object a line: `ts` (RFC 3339), `level`, `logger`, `message`, `fields`, `exc`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object of `record`; `fields` and `exc` only if there are any."""
        line: dict[str, object] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": bare(record),
        }
        if fields := _fields(record):
            line["fields"] = fields
        if exc := _traceback(self, record):
            line["exc"] = exc
        return json.dumps(line, default=str)  # ASCII: no line separator gets through


class JournalFormatter(logging.Formatter):
    """Puts the priority before each line, for journald (sd-daemon(3))."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the inner formatter's text, each line with ``<priority>`` before it."""
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


def _outputs() -> list[LogOutput]:
    return [each for each in logging.getLogger().handlers if isinstance(each, LogOutput)]


def _handler(stream: TextIO) -> logging.Handler:
    """Return the handler that writes to `stream`; the one that does so already, if there is one."""
    for output in _outputs():
        if output.stream is stream:
            return output
    try:
        return LogOutput(stream)
    except (OSError, ValueError):  # closed, or not a file at all
        return logging.StreamHandler(stream)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    # Child processes of a service inherit the variable; only the file tells (systemd.exec(5)).
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or not a file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
