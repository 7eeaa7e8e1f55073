"""The guides show what is in their examples, which other tests run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs/guides"
EXAMPLES = ROOT / "docs/examples"
PAGES = sorted(path.stem for path in GUIDES.glob("*.rst"))


def blocks(page: str) -> list[str]:
    """The code blocks of a guide, without their indent."""
    text = (GUIDES / f"{page}.rst").read_text("utf-8")
    found = re.findall(r"\.\. code-block:: \S+\n\n((?:    .*\n|\n)+)", text)
    return [textwrap.dedent(block).strip("\n") for block in found]


def sources(page: str) -> list[str]:
    """The files of a guide's example, each with every indent that a part of it may have lost."""
    paths = [EXAMPLES / "nginx.conf"]
    if page != "index":
        paths = [path for path in (EXAMPLES / page).rglob("*") if path.is_file()]
    texts = [path.read_text("utf-8") for path in paths if path.suffix != ".pyc"]
    return [re.sub(rf"(?m)^{indent}", "", text) for text in texts for indent in INDENTS]


INDENTS = ["", " " * 2, " " * 4, " " * 8, "\t", "\t\t"]


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_shows_nothing_but_what_is_in_its_example(page: str) -> None:
    assert blocks(page)
    files = sources(page)
    changed = [block for block in blocks(page) if not any(block in file for file in files)]
    assert changed == []


def test_every_guide_is_in_the_list_of_guides() -> None:
    text = (GUIDES / "index.rst").read_text("utf-8")
    listed = re.findall(r"(?m)^`.*? <(\w+)\.rst>`_  +", text)
    assert {*listed, "index"} == {*PAGES}
    assert re.findall(r"(?m)^   (\w+)$", text.partition("toctree::")[2]) == listed
