"""The pages of the documentation, as a forge reads them: with docutils and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree

ROOT = Path(__file__).parents[2]
_SILENT = 5  # docutils' level above all that it may have to say


@dataclass(frozen=True)
class Problem:
    """What docutils has to say about a page."""

    line: int
    text: str


def paths() -> list[Path]:
    """Every page, from the root of the repository."""
    found = [ROOT / "README.rst", ROOT / "CHANGES.rst", *(ROOT / "docs").rglob("*.rst")]
    return sorted(path.relative_to(ROOT) for path in found)


@cache
def parsed(page: str) -> nodes.document:
    """Parse a page once: to read them all takes a second."""
    settings: dict[str, Any] = {
        "report_level": _SILENT,
        "halt_level": _SILENT,
        "file_insertion_enabled": False,  # a forge inserts no files
        "syntax_highlight": "none",
        "_disable_config": True,
    }
    path = ROOT / page
    return publish_doctree(path.read_text("utf-8"), str(path), settings_overrides=settings)


def problems(page: str) -> Iterator[Problem]:
    """What a forge leaves out of a page, or shows as it was typed."""
    for message in parsed(page).parse_messages:
        if message["level"] > 1:
            yield Problem(message.get("line", 0), message.astext())
