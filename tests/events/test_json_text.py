"""JSON as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.json_text import json_type, with_member

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "  ", "\t"])


@pytest.mark.parametrize(
    ("text", "without", "changed"),
    [
        ('{"a":1,"x":2}', '{"a":1}', '{"a":1,"x":{}}'),
        ('{"x":2,"a":1}', '{"a":1}', '{"x":{},"a":1}'),
        ('{ "a" : 1.50 , "x" : 2 ,\t"b": "\\u0041" }',
         '{ "a" : 1.50 ,\t"b": "\\u0041" }', '{ "a" : 1.50 , "x" : {} ,\t"b": "\\u0041" }'),
        ('{"a":1,"x":2,"b":3}', '{"a":1,"b":3}', '{"a":1,"x":{},"b":3}'),
        ('{"x":1,"a":",\\"x\\":","x":2}', '{"a":",\\"x\\":"}', '{"a":",\\"x\\":","x":{}}'),
        ('{"a":1,"\\u0078":2}', '{"a":1}', '{"a":1,"\\u0078":{}}'),
        ('{"x":2}', "{}", '{"x":{}}'),
    ],
)  # fmt: skip
def test_a_member_is_changed_and_all_else_stays_as_it_is_written(
    text: str, without: str, changed: str
) -> None:
    """If it is there twice, in any spelling of its name, only the last is left."""
    assert with_member(text.encode(), "x", b"").decode() == without
    assert with_member(text.encode(), "x", b"{}").decode() == changed


@given(
    st.lists(st.tuples(st.sampled_from("xab") | st.text(), JSON)), JSON, SPACE, SPACE, st.booleans()
)
def test_any_object_is_the_same_but_for_the_member(
    members: list[tuple[str, object]], value: object, comma: str, colon: str, ascii_only: bool
) -> None:
    members.append(("x", value))

    def written(pairs: list[tuple[str, object]]) -> bytes:
        def encoded(part: object) -> str:
            return json.dumps(part, ensure_ascii=ascii_only)

        each = (f"{encoded(name)}{colon}:{colon}{encoded(part)}" for name, part in pairs)
        return f"{{{comma}{f'{comma},{comma}'.join(each)}{comma}}}".encode(errors="replace")

    text = written(members)
    others = [(name, part) for name, part in members if name != "x"]
    assert json.loads(with_member(text, "x", b"[7]")) == json.loads(text) | {"x": [7]}
    if others:
        assert with_member(text, "x", b"") == written(others)


def test_a_number_of_any_length_is_passed_over() -> None:
    text = b'{"x": 1, "n": %b, "m": 1e999}' % (b"9" * 5000)
    assert with_member(text, "x", b"") == b'{"n": %b, "m": 1e999}' % (b"9" * 5000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("{}", "an object"), (" []", "an array"), ('""', "a string"), ("true", "a boolean"),
     ("null", "null"), ("-1", "a number")],
)  # fmt: skip
def test_a_value_is_told_by_its_type(value: str, expected: str) -> None:
    assert json_type(value.encode()) == expected
