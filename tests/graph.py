"""Draws which room of the package imports which, for docs/architecture.rst.

Needs nothing that is not in Python. With ``--check`` it only says whether the page is up to date.
"""

import sys
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

from tests.imports import imports, room

PAGE = Path(__file__).parents[1] / "docs/architecture.rst"
BEGIN, END = ".. graph: begin, written by scripts/graph\n\n", ".. graph: end\n"


def rooms() -> dict[str, set[str]]:
    """Each room, and those that its modules import."""
    found: dict[str, set[str]] = {}
    for each in imports():
        importer, imported = room(each.importer), room(each.imported)
        found.setdefault(importer, set())
        found.setdefault(imported, set())
        if importer != imported:
            found[importer].add(imported)
    return found


def below(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    """All that a room imports, itself or through others."""
    return graph[name].union(*(below(other, graph) for other in graph[name]))


def drawn(graph: Mapping[str, set[str]]) -> str:
    """The block: a line for each room, above all that it imports.

    A room that is imported through another one of the line is left out of it.
    """
    floors: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        floors[name] = 1 + max((floors[other] for other in graph[name]), default=0)
    width = max(map(len, graph))
    lines = []
    for name in sorted(graph, key=lambda name: (-floors[name], name)):
        through = set[str]().union(*(below(other, graph) for other in graph[name]))
        direct = sorted(graph[name] - through, key=lambda name: (-floors[name], name))
        arrow = f"{name:{width}} ─> {', '.join(direct)}" if direct else name
        lines.append(f"   {arrow}\n")
    return ".. code-block:: text\n\n" + "".join(lines) + "\n"


def main() -> None:
    """Write the block, or with ``--check`` end with 1 if it is another one."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    old, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{PAGE} has no place for the graph")
    new = drawn(rooms())
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(before + begin + new + end + after, encoding="utf-8")
    elif old != new:
        sys.exit(f"the graph in {PAGE} is another one; run scripts/graph")


if __name__ == "__main__":
    main()
