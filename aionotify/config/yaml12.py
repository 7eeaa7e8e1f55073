"""Reading YAML the way people expect a configuration to be read.

PyYAML follows YAML 1.1, where ``010`` is 8, ``1:30`` is 90, ``on`` is true and the second of two
equal keys silently wins. Here scalars mean what the core schema of YAML 1.2 says (section 10.3.2),
and whatever a configuration has no use for is refused: equal keys, aliases (which also make
"billion laughs" possible), tags, several documents. Knows YAML, not settings.
"""

import re
from typing import Any, cast

import yaml
from yaml.constructor import ConstructorError

from aionotify.errors import ConfigError

MAX_BYTES = 1 << 20  # of a file; a complete configuration has about 8 KiB

_PLAIN = "plain"  # our tag for a scalar without quotes, whose text decides what it is
_STR, _SEQ, _MAP = (f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map"))

_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|()\.(nan|NaN|NAN)")


def load(text: str | bytes, source: str) -> object:
    """Return the one document in `text`, None when there is none.

    Raises ConfigError with the line and column of what is wrong; it never quotes a value.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError({"file": f"expected at most {MAX_BYTES} bytes"}, source)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        problem = error.problem or "not YAML"
    except yaml.YAMLError:
        where, problem = "file", "expected text in UTF-8 without control characters"
    except RecursionError:
        where, problem = "file", "nested too deeply"
    raise ConfigError({where: problem}, source)


def scalar(text: str) -> object:
    """Return what `text` means without quotes: None, a bool, an int, a float, or itself.

    Raises ValueError for an integer of more digits than Python converts (4,300).
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        # int(text, 0) would refuse 010.
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if special := _SPECIAL.fullmatch(text):
        return float("".join(group or "" for group in special.groups()))
    return text


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 - as PyYAML has it

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ConstructorError(None, None, "an alias is not supported here", mark)
        return super().compose_node(parent, index)


def _value(node: yaml.Node) -> object:
    match node:
        case yaml.ScalarNode(tag="plain"):
            try:
                return scalar(cast("str", node.value))
            except ValueError:
                raise ConstructorError(None, None, "too many digits", node.start_mark) from None
        case yaml.ScalarNode(tag=tag) if tag == _STR:
            return cast("str", node.value)
        case yaml.SequenceNode(tag=tag) if tag == _SEQ:
            return [_value(item) for item in node.value]
        case yaml.MappingNode(tag=tag) if tag == _MAP:
            return _mapping(node)
    raise ConstructorError(None, None, "a tag is not supported here", node.start_mark)


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConstructorError(None, None, "a key must be a name", key_node.start_mark)
        key = key_node.value
        if key in mapping:
            raise ConstructorError(None, None, f"the key {key} appears twice", key_node.start_mark)
        mapping[key] = _value(value_node)
    return mapping
