"""Follows every link of the built site that does not leave it: python docs/site/links.py DIRECTORY

Exits with 1 if one leads nowhere, and says which. Links to other sites are listed and not fetched:
to build the docs takes no network.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit


@dataclass
class Page(HTMLParser):
    """What a page links to, and the anchors that can be linked to."""

    path: Path
    links: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def pages(site: Path) -> Mapping[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def broken(site: Path, found: Mapping[Path, Page]) -> Iterator[str]:
    """What leads nowhere, as "page: link"."""
    for path, page in found.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            known = found.get(target.resolve())
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and known and anchor not in known.anchors):
                yield f"{path.relative_to(site)}: {link}"


def external(found: Mapping[Path, Page]) -> set[str]:
    """Where the site leads to elsewhere."""
    links = {urljoin(link, "") for page in found.values() for link in page.links}
    return {link for link in links if urlsplit(link).netloc}


def main() -> int:
    site = Path(sys.argv[1]).resolve()
    found = pages(site)
    for link in sorted(external(found)):
        print(f"not followed, it leaves the site: {link}")
    wrong = list(broken(site, found))
    for link in wrong:
        print(f"leads nowhere: {link}", file=sys.stderr)
    print(f"{len(found)} pages, {sum(len(page.links) for page in found.values())} links")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
