"""The tables of docs/clients.rst, which scripts/clients writes and the tests hold to."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.clients.catalogue import ROOT

PAGE = ROOT / "docs/clients.rst"

# What each table has, after the client's name.
TABLES = (
    ("receives", "SIGTERM", "SIGKILL", "FIN", "RST", "drain", "expiry"),
    ("401", "403", "429", "503", "Retry-After", "silence"),
    ("version", "token", "reconnects"),
)
_TABLE = re.compile(r"(?m)^(=+(?: +=+)+)\n(.*)\n\1\n((?:.*\n)+?)\1\n")

Rows = dict[str, dict[str, str]]  # by client, by column


def read(text: str) -> list[Rows]:
    """Return the page's tables, those of these columns."""
    found = []
    for rules, heads, body in _TABLE.findall(text):
        spans = [match.span() for match in re.finditer("=+", rules)]
        columns = _cells(heads, spans)
        if columns[0] == "Client":
            rows = [_cells(line, spans) for line in body.splitlines()]
            found.append(
                {name: dict(zip(columns[1:], cells, strict=True)) for name, *cells in rows}
            )
    return found


def write(text: str, found: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page with what was found, by client and column; the rest stays as it is."""
    tables = iter(TABLES)
    old = iter(read(text))

    def replace(match: re.Match[str]) -> str:
        if not match[2].startswith("Client "):
            return match[0]
        columns = next(tables)
        rows = dict(next(old))
        for name, row in found.items():
            had = rows.get(name, dict.fromkeys(columns, "?"))
            rows[name] = {column: row.get(column, had[column]) for column in columns}
        return _table(
            [["Client", *columns], *([name, *row.values()] for name, row in rows.items())]
        )

    return _TABLE.sub(replace, text)


def _cells(line: str, spans: list[tuple[int, int]]) -> list[str]:
    ends = [start for start, _ in spans[1:]] + [len(line) + 1]
    return [line[start:end].strip() for (start, _), end in zip(spans, ends, strict=True)]


def _table(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, ""])


def snippet(program: Path) -> str:
    """Return the lines of a program that the page shows."""
    source = program.read_text("utf-8")
    _, _, shown = source.partition("In docs/clients.rst:\n")
    assert shown, f"{program} has no line that says what the page shows of it"
    shown = re.split(r"(?m)^ *(?:#|//) Until here\.\n", shown)[0]
    return shown.strip("\n").expandtabs(4)
