"""What the package may log, read from its source: each message, and the names of its fields."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEVELS = {"debug", "info", "warning", "error", "exception"}


def messages(modules: Sequence[ast.Module]) -> dict[str, set[str]]:
    """The fields of every message; of one that is logged in several places, those of all."""
    found: dict[str, set[str]] = {}
    outages = [_text(call.args[1]) for module in modules for call in _calls(module, "OutageLog")]
    for module in modules:
        for message, names in _logged(module):
            for whom in outages if "%s" in message else [""]:
                found.setdefault(message.replace("%s", whom), set()).update(names)
    return found


def _logged(module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        scope = _Scope(module, function)
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and _is_logging(call):
                given = [word.value for word in call.keywords if word.arg == "extra"]
                inner = [value for extra in given for value in _values(extra)]
                names = [set(scope.names(each)) for each in (*inner, *call.args[1:])]
                yield _text(call.args[0]), set().union(*names)
    for check in _calls(module, "HealthCheck"):
        for word in check.keywords:
            yield _text(word.value), {"reason"} if word.arg == "wrong" else set()


@dataclass(frozen=True)
class _Scope:
    """A function, and what can be known of a mapping that is put together in it."""

    module: ast.Module
    function: ast.AST

    def names(self, node: ast.AST) -> Iterator[str]:
        """The keys of the mapping that an expression makes."""
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    yield from self.names(value) if key is None else [_text(key)]
            case ast.BinOp(left=left, right=right):
                yield from self.names(left)
                yield from self.names(right)
            case ast.Name(id=name):
                yield from self._assigned(name)
            case ast.Call(func=ast.Name(id=name)):
                yield from self._returned(name)

    def _assigned(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.function):
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    yield from self.names(value)
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value):
                    yield from self.names(value) if target == name else ()
                case ast.Subscript(
                    value=ast.Name(id=target),
                    slice=ast.Constant(value=str(key)),
                    ctx=ast.Store(),
                ):
                    yield from [key] if target == name else ()

    def _returned(self, name: str) -> Iterator[str]:
        for node in ast.walk(self.module):
            if isinstance(node, ast.FunctionDef) and node.name == name:
                called = _Scope(self.module, node)
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        yield from called.names(inner.value)


def _is_logging(call: ast.Call) -> bool:
    """Whether it logs; what it logs has to be written there, but where others say what to log."""
    match call:
        case ast.Call(func=ast.Attribute(value=logger, attr=level), args=[message, *_]):
            if level not in LEVELS or not re.search("log|sampled", ast.unparse(logger)):
                return False
            told = ast.unparse(message) in ("message", "self._wrong", "self._right")
            return not told and bool(_text(message))
    return False


def _calls(module: ast.Module, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called == name:
                yield node


def _values(node: ast.expr) -> list[ast.expr]:
    return node.values if isinstance(node, ast.Dict) else []


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
    raise ValueError(f"line {getattr(node, 'lineno', '?')}: not a text that is written there")
