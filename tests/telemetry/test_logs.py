"""What the process writes on standard error."""

import io
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.telemetry.logs import (
    JournalFormatter,
    JSONFormatter,
    TextFormatter,
    bare,
    configure,
    escaped,
    show_fields,
)

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def record(
    message: str = "stream opened",
    fields: Mapping[str, object] | None = None,
    level: int = logging.INFO,
    exc: BaseException | None = None,
) -> logging.LogRecord:
    exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
    made = logging.LogRecord("aionotify.web", level, __file__, 1, message, (), exc_info)
    if fields is not None:
        made.fields = fields
    return made


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def text_of(made: logging.LogRecord) -> str:
    return TextFormatter().format(made)


def json_of(made: logging.LogRecord) -> dict[str, Any]:
    line = JSONFormatter().format(made)
    assert "\n" not in line
    parsed = json.loads(line)
    assert isinstance(parsed, dict)
    return parsed


def test_text_is_one_line_with_the_fields_at_its_end() -> None:
    line = text_of(record(fields={"user": "42", "seconds": 1.5, "events": 3}))
    assert re.fullmatch(
        rf"{TIME} INFO aionotify\.web: stream opened user=42 seconds=1\.5 events=3", line
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        (None, "None"),
        ("a\nb", r"a\nb"),
        ("a\r\n2026-01-01T00:00:00.000Z INFO root: all is well", None),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u2028\u202e\x85\x00", r"\u2028\u202e\x85\x00"),
        ("\ud800", r"\ud800"),
        ("Grüße", "Grüße"),
    ],
)
def test_a_value_can_neither_start_a_line_nor_pass_for_another_field(
    value: object, shown: str | None
) -> None:
    line = text_of(record(fields={"user": value, "last": 1}))
    assert line.isprintable()
    assert line.endswith(" last=1")
    if shown is not None:
        assert f" user={shown} last=1" in line


@given(st.text())
def test_escaped_text_is_printable(text: str) -> None:
    assert escaped(text).isprintable()
    assert not text.isprintable() or escaped(text) == text


def test_a_message_is_escaped_as_well() -> None:
    assert "\n" not in text_of(record("GET /\nINFO root: all is well"))


def test_a_traceback_follows_in_lines_that_cannot_pass_for_records() -> None:
    error = raised(ValueError("bad\n2026-01-01T00:00:00.000Z INFO root: all is well"))
    first, *below = text_of(record("failed", exc=error)).split("\n")
    assert first.endswith("aionotify.web: failed")
    assert any("ValueError: bad" in line for line in below)
    assert all(line.startswith("  ") for line in below)


def test_json_is_one_object_a_line() -> None:
    parsed = json_of(record(fields={"user": "42", "seconds": 1.5}, level=logging.WARNING))
    assert re.fullmatch(TIME, parsed.pop("ts"))
    assert parsed == {
        "level": "warning",
        "logger": "aionotify.web",
        "message": "stream opened",
        "fields": {"user": "42", "seconds": 1.5},
    }


def test_json_has_the_traceback_beside_it() -> None:
    parsed = json_of(record("failed", exc=raised(ValueError("bad"))))
    assert parsed["exc"].endswith("ValueError: bad")
    assert "fields" not in parsed


@pytest.mark.parametrize("value", ["a\n\u2028b\x85", "\ud800", {1, 2}, b"\xff", Path("/x")])
def test_json_takes_any_value(value: object) -> None:
    line = JSONFormatter().format(record(fields={"value": value}))
    assert len(line.splitlines()) == 1
    assert "value" in json.loads(line)["fields"]


@pytest.mark.parametrize("formatter", [TextFormatter(), JSONFormatter()])
def test_fields_that_are_no_mapping_are_left_out(formatter: logging.Formatter) -> None:
    made = record()
    made.fields = "user=alice"  # no number: the time has many
    assert "alice" not in formatter.format(made)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)],
)
def test_each_line_for_the_journal_has_its_priority(level: int, priority: int) -> None:
    made = record("failed", level=level, exc=raised(ValueError("bad")))
    lines = JournalFormatter(TextFormatter()).format(made).split("\n")
    assert len(lines) > 2
    assert all(line.startswith(f"<{priority}>") for line in lines)


def test_journal_format_is_used_only_where_the_journal_reads(tmp_path: Path) -> None:
    """The variable is inherited by what a service starts; its standard error may be another's."""
    with (tmp_path / "journal").open("w+") as journal, (tmp_path / "other").open("w+") as other:
        status = os.fstat(journal.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        for stream in (journal, other):
            configure("info", "text", stream, environ)
            logging.getLogger("aionotify.x").info("heard")
            for handler in logging.getLogger().handlers:
                handler.flush()
            stream.seek(0)
        assert journal.read().startswith("<6>")
        assert other.read().startswith("20")


def test_where_the_log_is_ours_nothing_is_done_twice_for_a_line(tmp_path: Path) -> None:
    """Our formatter writes the fields."""
    logger = logging.getLogger("aionotify.x")
    with (tmp_path / "log").open("w+") as stream:
        configure("info", "text", stream, {})
        show_fields()
        logger.info("heard", extra={"fields": {"user": "a"}})
        assert logger.filters == []
        for handler in logging.getLogger().handlers:
            handler.flush()
        stream.seek(0)
        assert stream.read().endswith("aionotify.x: heard user=a\n")


def test_in_somebody_else_s_application_the_message_carries_the_fields() -> None:
    """Their formatters know nothing of ours, which print them once."""
    logger, stream = logging.getLogger("aionotify.x"), io.StringIO()
    show_fields()
    show_fields()
    kept: list[logging.LogRecord] = []
    handlers = [logging.StreamHandler(stream), _Keeping(kept)]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        fields = {"user": "a b", "reason": "100 %"}
        logger.warning("100 % bad", extra={"fields": fields})
        logger.warning("%s is bad", "it", extra={"fields": fields})
        logger.warning("alone")
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    pairs = 'user="a b" reason="100 %"'
    assert stream.getvalue() == f"100 % bad {pairs}\nit is bad {pairs}\nalone\n"
    assert [bare(made) for made in kept] == ["100 % bad", "it is bad", "alone"]
    assert {made.msg for made in kept} == {"100 %% bad%s", "%s is bad%s", "alone"}
    assert text_of(kept[0]).count("user=") == 1
    assert json_of(kept[1])["message"] == "it is bad"


class _Keeping(logging.Handler):
    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


def test_a_record_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure("warning", "json", stream, {})
    logging.getLogger("aionotify.x").info("quiet")
    logging.getLogger("aionotify.x").warning("loud")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_logging_is_set_up_by_the_process_alone() -> None:
    """Inside an application of somebody else's, logging is theirs."""
    package = Path(sys.modules["aionotify"].__file__ or "").parent
    callers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"logs\.configure\(|basicConfig\(|addHandler\(", path.read_text())
    }
    process = {
        "cli/__init__.py",
        "process/reload.py",
        "process/worker.py",
        "process/worker_channel.py",
        "telemetry/logs.py",
    }
    assert callers - {"demo.py", "demo/__init__.py"} == process
