"""Which room may import which, and that the imports lead in no circle.

import-linter would hold most of this, and bring click and grimp along. What would still be missing
is which imports are in functions.
"""

import subprocess
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.imports import Import, imports, lazy, room

ROOT = Path(__file__).parents[1]

# Each room, and all that it may import; those that may be imported by most come last.
MAY_IMPORT = {
    "__main__": "cli process",
    "__init__": "app client broker auth config errors _version",
    "testing": "app broker auth client events config loop_thread tasks errors",
    "cli": "demo process client broker auth events config telemetry tasks errors _version",
    "demo": "process app web client broker events config telemetry tasks errors",
    "process": "app auth config telemetry tasks errors",
    "app": "instance web broker auth config telemetry",
    "instance": "broker_events web webhook streams broker auth config telemetry tasks",
    "broker_events": "streams broker auth events telemetry tasks errors",
    "web": "webhook streams broker auth events config telemetry portions tasks errors _version",
    "webhook": "broker auth telemetry tasks errors",
    "streams": "auth events telemetry batcher tasks errors",
    "broker": "events config telemetry batcher portions loop_thread tasks errors",
    "auth": "config telemetry tasks errors",
    "client": "errors",
    "events": "errors",
    "config": "errors",
    "telemetry": "tasks",
    "batcher": "",
    "portions": "",
    "loop_thread": "",
    "tasks": "",
    "errors": "",
    "_version": "",
}

_COMMAND = "one command needs it; --help and the others need not wait for it"
# And the modules of commands, which `cli` has by name.
LAZY = {
    ("aionotify.__main__", "aionotify.cli.__init__"): "SIGTERM has to be heard before it is there",
    ("aionotify.cli.__init__", "aionotify.process.worker"): _COMMAND,
    ("aionotify.demo.__init__", "aionotify.demo.check"): _COMMAND,
    ("aionotify.demo.__init__", "aionotify.demo.screen"): _COMMAND,
    ("aionotify.cli.serve", "aionotify.process.server"): _COMMAND,
    ("aionotify.cli.serve", "aionotify.demo.dev"): "one flag needs it",
    ("aionotify.cli.check", "rich"): "only a terminal gets a table",
    ("aionotify.process.node", "uvloop"): "it may not be there",
}


@pytest.fixture(scope="module")
def found() -> set[Import]:
    whole = imports()
    assert len(whole) > 300
    return whole


def test_rooms_import_what_they_may(found: set[Import]) -> None:
    """To allow more is a decision about the architecture, to be made in docs/architecture.rst."""
    assert {room(each.importer) for each in found} <= MAY_IMPORT.keys()
    wrong = {
        (each.importer, each.imported)
        for each in found
        if room(each.importer) != room(each.imported)
        and room(each.imported) not in MAY_IMPORT[room(each.importer)].split()
    }
    assert not wrong


def test_imports_in_functions_are_for_laziness() -> None:
    """What is in a function is not seen at the start, so it could hide a circle."""
    assert lazy() == LAZY.keys()


def test_imports_lead_in_no_circle(found: set[Import]) -> None:
    """Neither between modules nor between packages, at whatever depth they are next to each other.

    A package's modules count as the package to those outside of it.
    """
    graphs: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for importer, imported, _ in found:
        from_, to = importer.split("."), imported.split(".")
        depth = next(i for i, pair in enumerate(zip(from_, to, strict=False)) if len({*pair}) > 1)
        graphs[tuple(from_[:depth])][from_[depth]].add(to[depth])
    circles = {}
    for package, graph in graphs.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circles[".".join(package)] = " imports ".join(reversed(error.args[1]))
    assert not circles


def test_graph_in_the_architecture_is_the_one_there_is() -> None:
    run = subprocess.run(["scripts/graph", "--check"], cwd=ROOT, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
