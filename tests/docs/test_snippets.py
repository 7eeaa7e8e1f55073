"""Every snippet of README.rst and docs/ is run by one test, or there is a reason here.

A test that runs one says so by taking it: ``snippet("docs/producers.rst", "curl -X POST")``, or all
of a page, ``snippets("docs/browser.rst", "javascript")``.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT
from tests.docs.snippets import Snippet, containing, snippets

TESTS = ROOT / "tests"
PICTURE = "a picture"
MACHINE = "changes the machine, and needs a systemd that has booted"
CONTAINERS = "needs Docker; scripts/check-image does the same without"
NOT_RUN = {
    ("README.rst", "browser ── GET /notify"): PICTURE,
    ("README.rst", "scripts/demo"): "installs, then is `aionotify demo`, which the next ones use",
    ("README.rst", "scripts/test"): "is what runs this",
    ("docs/architecture.rst", "GET /notify ─> Limits"): PICTURE,
    ("docs/architecture.rst", "BrokerEvents\n"): PICTURE,
    ("docs/architecture.rst", "the public names, nothing else"): PICTURE,
    ("docs/architecture.rst", "─> cli\n"): "written by scripts/graph; test_imports.py compares it",
    ("docs/deployment.rst", "cp scripts/Caddyfile"): MACHINE,
    ("docs/deployment.rst", "systemctl restart aionotify.service"): MACHINE,
    ("docs/deployment.rst", "docker build"): CONTAINERS,
    ("docs/deployment.rst", "docker compose up"): CONTAINERS,
    ("docs/deployment.rst", "docker compose exec"): CONTAINERS,
    ("docs/deployment.rst", "kubectl apply"): "needs a cluster",
    ("docs/performance.rst", "scripts/bench/run page"): "takes half an hour",
    ("docs/performance.rst", "chrt -r 10 scripts/bench/run"): "the same, for root",
}
"""By page and words that only this snippet has: why no test runs it."""
EXAMPLES = "docs/guides/"
"""Where code is part of a file of docs/examples, which tests run: test_guides.py compares them."""


def taken() -> Iterator[tuple[Path, Snippet]]:
    """What tests take, with the file that does so."""
    for path in sorted({*TESTS.rglob("*.py")} - {Path(__file__), TESTS / "docs/snippets.py"}):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="snippet"), args=[page, words]):
                    found = containing(_text(page), _text(words))
                    assert len(found) == 1, f"{path}: {_text(words)!r} is in {len(found)} snippets"
                case ast.Call(func=ast.Name(id="snippets"), args=[page, *language]):
                    found = snippets(_text(page), *map(_text, language))
                case _:
                    continue
            yield from ((path.relative_to(ROOT), each) for each in found)


def _text(node: ast.expr) -> str:
    assert isinstance(node, ast.Constant), "words that this test can read, please"
    assert isinstance(node.value, str)
    return node.value


EVERY = [each for page in pages.paths() for each in snippets(str(page))]


def test_every_snippet_is_run_or_there_is_a_reason() -> None:
    run = {each for _, each in taken()}
    excused = {each for page, words in NOT_RUN for each in containing(page, words)}
    excused |= {each for each in EVERY if each.page.startswith(EXAMPLES) and each.language}
    missing = [str(each) for each in EVERY if each not in run | excused]
    assert missing == [], "run them in a test, or give a reason in NOT_RUN"
    assert [str(each) for each in run & excused] == [], "a test runs what NOT_RUN has"


def test_no_snippet_is_run_twice() -> None:
    times = Counter(each for _, each in taken())
    assert [str(each) for each, number in times.items() if number > 1] == []


@pytest.mark.parametrize(("page", "words"), NOT_RUN)
def test_a_reason_is_for_one_snippet(page: str, words: str) -> None:
    assert len(containing(page, words)) == 1
