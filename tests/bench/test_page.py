"""docs/performance.rst says what was found, and nothing else."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from scripts.bench.page import TABLES, filled
from scripts.bench.plot import PLOTS, plots
from scripts.bench.record import Record
from scripts.bench.scenarios import SCENARIOS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "performance.rst").read_text("utf-8")
WIDTH = 310  # points; a phone's 390 pixels, and some more


@pytest.fixture(scope="module")
def record() -> Record:
    """The results that are committed."""
    return msgspec.json.decode((DOCS / "plots/results.json").read_bytes(), type=Record)


def test_tables_are_those_of_the_results(record: Record) -> None:
    """No figure in a table was written by hand; scripts/bench/run page writes them all."""
    assert filled(PAGE, record) == PAGE


def test_everything_that_was_measured_is_on_the_page(record: Record) -> None:
    shown = re.findall(r"^\.\. results: (.+)$", PAGE, re.MULTILINE)
    own = [result.name for result in record.own]
    assert sorted(shown) == sorted([*TABLES, *(f"scenario {name}" for name in own)])
    assert set(own) <= set(SCENARIOS)
    assert record.load.keys() == {point.scenario.partition(",")[0] for point in record.points}


def test_every_contender_took_every_turn(record: Record) -> None:
    """Who was measured less often than the others had other moments of the machine."""
    assert len({len(point.samples) for point in record.points}) == 1


def test_pictures_are_for_phones_and_for_dark_pages(record: Record, tmp_path: Path) -> None:
    """Colours are what the reader prefers, text is text, and the page has each of them."""
    drawn = plots(record, tmp_path)
    assert [path.stem for path in drawn] == list(PLOTS)
    assert re.findall(r"image:: plots/(.+)\.svg", PAGE) == list(PLOTS)
    assert {path.name for path in (DOCS / "plots").glob("*.svg")} == {p.name for p in drawn}
    for path in (*drawn, *(DOCS / "plots").glob("*.svg")):
        text = path.read_text("utf-8")
        assert "prefers-color-scheme:dark" in text
        assert "#0101" not in text, "a colour that is the same in both"
        root = ET.fromstring(text)
        assert float((root.get("width") or "").removesuffix("pt")) < WIDTH
        words = {"".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")}
        assert "aionotify" in words or "1 worker" in words or "aionotify, one for all" in words
