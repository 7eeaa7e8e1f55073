"""Who imports whom in the package, read from its source. Needs nothing that is not in Python."""

import ast
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "aionotify"


class Import(NamedTuple):
    """One module uses another; both by their whole names, a package's own module as `__init__`.

    `lazy`: only when a function is called. Whoever names a module in a string, for importlib to
    load, imports it as well.
    """

    importer: str
    imported: str
    lazy: bool


def imports() -> set[Import]:
    """All imports of one module of the package by another."""
    return {each for each in _all() if each.imported.startswith(f"{PACKAGE.name}.")}


def lazy() -> set[tuple[str, str]]:
    """Who imports whom in a function, others' packages too."""
    return {(each.importer, each.imported) for each in _all() if each.lazy}


def room(module: str) -> str:
    """The part of the package that a module is, or is in."""
    return module.split(".")[1]


def _all() -> Iterator[Import]:
    modules = {_name(path): path for path in PACKAGE.rglob("*.py")}
    for name, path in modules.items():
        for whole, lazy in _named(ast.parse(path.read_text(encoding="utf-8"))):
            if (imported := _module(whole, modules)) != name:
                yield Import(name, imported, lazy)


def _name(path: Path) -> str:
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))


def _named(node: ast.AST, lazy: bool = False) -> Iterator[tuple[str, bool]]:
    """The whole name of each thing imported below `node`, and whether that is in a function."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from ((alias.name, lazy) for alias in child.names)
            case ast.ImportFrom():
                assert child.level == 0, "a module is imported by its whole name"
                yield from ((f"{child.module}.{alias.name}", lazy) for alias in child.names)
            case ast.Constant(value=str(text)) if text.startswith(f"{PACKAGE.name}."):
                yield f"{text}.", False  # nothing in it: many a string only looks like a module's
            case _:
                inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from _named(child, inside)


def _module(name: str, modules: Container[str]) -> str:
    """The module of ours that `name` is, or is something in; or else somebody's package."""
    outer = name.rpartition(".")[0]
    found = (name, f"{name}.__init__", outer, f"{outer}.__init__")
    return next((module for module in found if module in modules), name.partition(".")[0])
