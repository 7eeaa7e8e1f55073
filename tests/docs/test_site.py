"""The docs as a site, and as a forge shows them: no warning, and no link that leads nowhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes

import aionotify
import aionotify.testing
from tests.docs import pages
from tests.docs.pages import ROOT

# What only Sphinx knows. A forge leaves it out, which is well where it shows a link in its place.
SPHINX_ONLY = ("autoclass", "autoexception", "autofunction", "py:data", "toctree")


def build(docs: Path, site: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    words = ["--quiet", "--doctree-dir", str(site.parent / "doctrees")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words, *options, str(docs), str(site)],
        capture_output=True,
        text=True,
        check=False,
    )


def follow(site: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(ROOT / "docs/site/links.py"), str(site)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as scripts/docs makes it."""
    site = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT / "docs", site, "--fail-on-warning", "--fresh-env")
    assert (done.returncode, done.stderr) == (0, "")
    return site


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    done = follow(site)
    assert (done.returncode, done.stderr) == (0, "")
    assert "not followed, it leaves the site: https://semver.org" in done.stdout


def test_a_link_to_a_page_of_the_repository_is_one_to_a_page_of_the_site(site: Path) -> None:
    """Also from the README, whose links begin at the root, and to a section."""
    found = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {"index.html", "quickstart.html", "changes.html", "search.html"} <= found
    html = (site / "quickstart.html").read_text()
    assert 'href="browser.html"' in html
    assert 'href="configuration.html#reload"' in (site / "operations.html").read_text()
    for page in sorted(found):
        assert re.findall(r'href="[^":]*\.rst', (site / page).read_text()) == [], page


def test_the_first_page_leads_everybody_on_in_one_click(site: Path) -> None:
    """A newcomer, an embedder, an operator, and who writes a client."""
    html = (site / "index.html").read_text()
    [doors] = re.findall(r'(?s)<ul class="doors.*?\n</ul>', html)
    assert doors.count("<li>") == 4
    pages = {
        "quickstart",
        "guides/index",
        "embedding",
        "deployment",
        "operations",
        "protocol",
        "browser",
    }
    assert pages <= set(re.findall(r'href="([\w/]+)\.html"', doors))


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    html = (site / "api.html").read_text()
    public = [
        *(f"aionotify.{name}" for name in aionotify.__all__),
        *(f"aionotify.testing.{name}" for name in aionotify.testing.__all__),
    ]
    assert [name for name in public if f'id="{name}"' not in html] == []


def test_nothing_of_the_machine_that_builds_it_is_in_the_site(site: Path) -> None:
    """A default that is a mapping of the environment would be shown with all that is in it."""
    for path in site.rglob("*.html"):
        html = path.read_text()
        for secret in (str(ROOT), os.environ["PATH"], "environ({"):
            assert secret not in html, path


def test_what_cannot_be_reached_fails_the_build(tmp_path: Path) -> None:
    """A page in no list of pages, a link to no file, and one to no section."""
    shutil.copytree(ROOT, tmp_path / "copy", ignore=_all_but_the_docs)
    docs = tmp_path / "copy/docs"
    new = "New\n===\n\n`One <nowhere.rst>`_, `two <protocol.rst#nothing>`_, `three <../docs>`_.\n"
    (docs / "new.rst").write_text(new)
    done = build(docs, tmp_path / "site", "--fail-on-warning", "--builder", "dummy")
    assert done.returncode == 1
    told = "\n".join(sorted(re.findall(r"/new\.rst:\d*:? ?(.*)", done.stderr)))
    assert "WARNING: document isn't included in any toctree" in told
    assert "WARNING: there is no file nowhere.rst" in told
    assert "WARNING: protocol.rst has no section #nothing" in told
    assert "WARNING: ../docs is a directory, not a page" in told
    assert told.count("WARNING") == done.stderr.count("WARNING") == 4


def _all_but_the_docs(directory: str, names: list[str]) -> set[str]:
    wanted = {"README.rst", "CHANGES.rst", "aionotify", "docs", "scripts", "config.yaml"}
    return set(names) - wanted if Path(directory) == ROOT else {"__pycache__"}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#c">1</a> <a href="d.html">2</a>')
    (tmp_path / "b.html").write_text('<p id="e"><a href="a.html">3</a> <img src="f.svg">')
    done = follow(tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "leads nowhere: a.html: b.html#c",
        "leads nowhere: a.html: d.html",
        "leads nowhere: b.html: f.svg",
    ]


@pytest.mark.parametrize("page", pages.paths(), ids=str)
def test_a_forge_understands_all_of_a_page(page: Path) -> None:
    """A role or directive of Sphinx' would be shown as it was typed, or left out."""
    known = re.compile(f'Unknown directive type "({"|".join(SPHINX_ONLY)})"|No directive entry for')
    wrong = [each for each in pages.problems(str(page)) if not known.search(each.text)]
    assert wrong == []
    for image in pages.parsed(str(page)).findall(nodes.image):
        assert image.get("alt"), f"{image['uri']} says nothing to those who cannot see it"
