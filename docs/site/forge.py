"""Makes links that a forge can follow lead somewhere on the site too.

A page says `Protocol <protocol.rst#frames>`_, which a forge shows as a link to that file. Here it
becomes a link to the page; one to any other file of the repository becomes a download. A link to
nothing is a warning, and with it the build fails.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

_ELSEWHERE = {"quickstart": "README.rst", "changes": "CHANGES.rst"}
"""Pages whose text is that of a file at the root of the repository."""
_TITLES = {"quickstart": "Quick start"}

_log = logging.getLogger(__name__)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("source-read", _read)
    # Before Sphinx collects what there is to download.
    app.connect("doctree-read", _mark, priority=400)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True}


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the text of a file at the root in the place of the page that points at it."""
    if docname not in _ELSEWHERE:
        return
    path = app.srcdir.parent / _ELSEWHERE[docname]
    app.env.note_dependency(str(path))
    source[0] = path.read_text("utf-8")
    if docname in _TITLES:
        *_, rest = source[0].split("\n=========\n", 1)
        title = _TITLES[docname]
        source[0] = f"{title}\n{'=' * len(title)}\n{rest}"


def _mark(app: Sphinx, doctree: nodes.document) -> None:
    """Find the links to files of the repository, and say what each is to become."""
    root = Path(app.srcdir).parent
    docname = app.env.docname
    source = root / _ELSEWHERE[docname] if docname in _ELSEWHERE else Path(app.srcdir) / docname
    for link in list(doctree.findall(nodes.reference)):
        uri = urlsplit(link.get("refuri", ""))
        if uri.scheme or uri.netloc or not uri.path:
            continue
        target = (source.parent / uri.path).resolve()
        if not target.is_relative_to(root) or not target.exists():
            _log.warning("there is no file %s", uri.path, location=link, type="forge")
        elif target.is_dir():
            _log.warning("%s is a directory, not a page", uri.path, location=link, type="forge")
        elif (page := _page(app, target)) is not None:
            mark = addnodes.pending_xref(
                "",
                *link.children,
                refdomain="",
                reftype="forge",
                reftarget=page,
                refanchor=uri.fragment,
                refdoc=docname,
                refexplicit=True,
                refwarn=True,
            )
            link.replace_self(mark)
        else:
            name = _from_page(app, target)
            link.replace_self(
                addnodes.download_reference("", "", *link.children, reftarget=name, refdoc=docname)
            )
    for image in doctree.findall(nodes.image):
        image["uri"] = _from_page(app, source.parent / image["uri"])


def _from_page(app: Sphinx, target: Path) -> str:
    return os.path.relpath(target, (Path(app.srcdir) / app.env.docname).parent)


def _page(app: Sphinx, target: Path) -> str | None:
    """The name of the page that has the text of a file, if one has."""
    for page, file in _ELSEWHERE.items():
        if target == Path(app.srcdir).parent / file:
            return page
    if target.is_relative_to(app.srcdir) and target.suffix == ".rst":
        return target.relative_to(app.srcdir).with_suffix("").as_posix()
    return None


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    if node["reftype"] != "forge":
        return None
    page, anchor = node["reftarget"], node["refanchor"]
    if page not in env.found_docs:
        _log.warning("%s.rst is no page", page, location=node, type="forge")
        return None
    if anchor and anchor not in env.get_doctree(page).ids:
        _log.warning("%s.rst has no section #%s", page, anchor, location=node, type="forge")
    return make_refnode(app.builder, node["refdoc"], page, anchor, list(node.children))
