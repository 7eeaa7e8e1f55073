"""Events and frames: what is let pass arrives unchanged, what is not gets a reason."""

import json
from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aionotify.errors import InvalidEvent
from aionotify.events import cursor
from aionotify.events.cursor import everyone_part, own_part, tag
from aionotify.events.event import (
    MAX_DEPTH,
    Event,
    check_recipient,
    decode,
    sole_recipient,
    split_batch,
)
from aionotify.events.frame import control_frame, frame
from aionotify.events.group import GroupId
from tests.parsers import PARSERS, Parser

BREAKS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # what some client takes for the end of a line

characters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(BREAKS + ' :"\\{}[]*\0\x7f\ufeff\U0001f600'),
)
texts = st.text(characters, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
user_ids = st.one_of(
    st.integers(),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\u2028\u2029*"),
        min_size=1,
        max_size=20,
    ).filter(lambda text: text != "*"),
)
types = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0" + BREAKS),
    min_size=1,
    max_size=128,
).filter(lambda text: text not in ("open", "error") and not text.startswith("aionotify."))
extras = st.dictionaries(
    texts.filter(lambda name: name not in ("recipient_id", "event", "id")), values, max_size=4
)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """What a producer may publish."""
    event = draw(extras)
    event["recipient_id"] = draw(
        user_ids | st.just("*") | st.lists(user_ids, min_size=1, max_size=5)
    )
    if draw(st.booleans()):
        event["event"] = draw(types)
    if draw(st.booleans()):
        event["id"] = draw(st.text(characters, min_size=1, max_size=128))
    return dict(draw(st.permutations(list(event.items()))))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """An event and one of the many ways to write it as JSON."""
    event = draw(events())
    text = json.dumps(
        event,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, "\t"])),
        allow_nan=False,
    )
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    if draw(st.booleans()):
        text = text.replace('"recipient_id"', '"recipient\\u005f\\u0069d"', 1)
    return draw(st.sampled_from(["", " \r\n\t"])).encode() + text.encode(), event


def exact(text: bytes | str) -> Any:
    """JSON with its numbers as they are written."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=pytest.fail)


def narrowed(event: Any, recipient_id: Any) -> Any:
    if isinstance(event["recipient_id"], list):
        return {**event, "recipient_id": exact(json.dumps(recipient_id))}
    return event


def event_or_none(message: bytes) -> Event | None:
    """The event, or None for one that is refused with a reason."""
    try:
        return decode(message)
    except InvalidEvent as refusal:
        if not refusal.fields:
            raise AssertionError("refused without a reason") from refusal
        return None


# --- what is let pass ---------------------------------------------------------------------------


@given(messages())
@example((b'{"recipient_id":["a"],"a\\u2028b":1}', {"recipient_id": ["a"]}))
@example(('{"recipient_id":["a\u2028b"]}'.encode(), {"recipient_id": ["a\u2028b"]}))
@example((b'{"recipient_id":[1],"data":[1e999999,-0,0.10]}', {"recipient_id": [1]}))
def test_a_receiver_gets_the_event_as_published_but_for_the_other_recipients(
    message: tuple[bytes, dict[str, Any]],
) -> None:
    """As one line of JSON, with the same members, digits and order."""
    raw, published = message
    event = decode(raw)
    named = published["recipient_id"]
    own_ids = named if isinstance(named, list) else [named]
    assert event.recipients == tuple(dict.fromkeys(map(str, own_ids)))
    for own_id in own_ids:
        data = event.data(str(own_id))
        assert not set(data.decode()) & set(BREAKS)
        seen = exact(data)
        if isinstance(named, list):
            # Of two ways to write the same user, the first one counts.
            assert str(seen["recipient_id"]) == str(own_id)
            own_id = next(value for value in own_ids if str(value) == str(own_id))
        assert seen == narrowed(exact(raw), own_id)
        assert list(seen) == list(exact(raw))


@pytest.mark.parametrize("parser", PARSERS)
@given(message=messages(), cut=st.lists(st.integers(min_value=1, max_value=40), max_size=8))
@settings(max_examples=40)
def test_every_parser_reads_the_same_from_a_frame(
    parser: Parser, message: tuple[bytes, dict[str, Any]], cut: list[int]
) -> None:
    """Type, id and JSON, however the bytes are cut up on their way."""
    raw, _ = message
    event = decode(raw)
    recipient = event.recipients[-1]
    cursor = everyone_part("q5hr2c", 12) + own_part(34, tag(recipient))
    body = frame(event.data(recipient), event.type, cursor) + b":\n"
    body += frame(event.data(recipient), event.type) + control_frame("gap", cursor, reason="lost")
    chunks = []
    for size in cut:
        chunks.append(body[:size])
        body = body[size:]
    first, second, last = parser([part for part in (*chunks, body) if part])
    assert (first.id, first.event) == (cursor.decode(), event.type or "message")
    assert exact(first.data) == exact(event.data(recipient))
    assert second == first  # without an id of its own the last one stays
    assert (last.event, json.loads(last.data)) == ("aionotify.gap", {"reason": "lost"})


@given(st.lists(user_ids, min_size=2, max_size=20, unique_by=str), extras)
def test_no_recipient_of_a_list_is_shown_another(ids: list[Any], extra: dict[str, Any]) -> None:
    marked = [f"user {index} {value}" for index, value in enumerate(ids)]
    event = decode(json.dumps({**extra, "recipient_id": marked}).encode())
    for own_id in marked:
        shown = event.data(own_id).decode()
        assert exact(shown)["recipient_id"] == own_id
        # By what JSON makes of each text, since the text itself may hold quotes.
        others = {json.dumps(other) for other in marked if other != own_id}
        assert not any(other in shown for other in others)


def test_an_integer_and_its_digits_are_one_user() -> None:
    assert decode(b'{"recipient_id": 42}').recipients == ("42",)
    event = decode(b'{"recipient_id": [42, "42", "43"], "x": 1}')
    assert event.recipients == ("42", "43")
    assert event.data("42") == b'{"recipient_id":42,"x":1}'
    assert event.data("43") == b'{"recipient_id":"43","x":1}'


def test_an_event_for_one_is_passed_on_byte_for_byte() -> None:
    raw = b'{"b":1.50, "recipient_id" : "7","a":1E+2,"b":"\\u00e9\\/","n":-0.0}'
    assert decode(raw).data("7") == raw


def test_names_in_deeper_objects_are_the_producers_own() -> None:
    raw = b'{"recipient_id":["1"],"data":{"recipient_id":["1","2"],"event":"\\u0072"}}'
    assert b'"data":{"recipient_id":["1","2"],"event":"\\u0072"}' in decode(raw).data("1")


# --- what is not --------------------------------------------------------------------------------

REFUSED: list[tuple[bytes | str, str, str]] = [
    ("", "body", "is empty"),
    (" \n", "body", "is empty"),
    ("\ufeff{}", "body", "byte order mark"),
    ("{", "body", "is not JSON"),
    ('{"recipient_id": 1} {"recipient_id": 2}', "body", "is not JSON"),
    ('{"recipient_id": 1,}', "body", "is not JSON"),
    ("{'recipient_id': 1}", "body", "(byte 1, U+0027)"),
    ("{“recipient_id”: 1}", "body", "(byte 1, U+201C)"),
    ('{"recipient_id":\u00a01}', "body", "(byte 16, U+00A0)"),
    ('{"recipient_id": 1, "data": NaN}', "body", "is not JSON"),
    ('{"recipient_id": 1, "data": -Infinity}', "body", "is not JSON"),
    ('{"recipient_id": 1, "data": 012}', "body", "is not JSON"),
    ('{"recipient_id": 1, "data": "a\nb"}', "body", "is not JSON"),
    ('{"recipient_id": 1, "data": "a\0b"}', "body", "is not JSON"),
    ('{"recipient_id": 1, "da\nta": 1}', "body", "is not JSON"),
    ('{"recipient_id": 1, "data": "\\x"}', "body", "is not JSON"),
    (b'{"recipient_id": 1, "data": "\xff"}', "body", "is not UTF-8 (byte 29, 0xFF)"),
    (b'{"recipient_id": 1, "data": "\xc0\x80"}', "body", "is not UTF-8"),
    (b'{"recipient_id": 1, "data": "\xed\xa0\x80"}', "body", "is not UTF-8"),
    (b'\xff\xfe{\0"\0', "body", "is not UTF-8"),
    ('{"recipient_id": 1, "data": "\\ud800"}', "body", "half of a surrogate pair"),
    ('{"recipient_id": "\\udc00"}', "body", "half of a surrogate pair"),
    ('{"recipient_id": [1], "\\ud800": 1}', "body", "half of a surrogate pair"),
    ("null", "body", "must be a JSON object, not null"),
    ("[]", "body", "must be a JSON object, not an array"),
    (' "x"', "body", "must be a JSON object, not a string"),
    ("true", "body", "must be a JSON object, not a boolean"),
    ("9" * 9999, "body", "must be a JSON object, not a number"),
    ("{}", "recipient_id", "is missing"),
    ('{"recipient_id": null}', "recipient_id", "not null"),
    ('{"recipient_id": false}', "recipient_id", "not a boolean"),
    ('{"recipient_id": 4.5}', "recipient_id", "such a number"),
    ('{"recipient_id": 42.0}', "recipient_id", "such a number"),
    ('{"recipient_id": 1e3}', "recipient_id", "such a number"),
    ('{"recipient_id": %s}' % ("1" * 300), "recipient_id", "1 to 256 characters, not 300"),
    ('{"recipient_id": %s}' % ("1" * 9999), "recipient_id", "such a number"),
    ('{"recipient_id": {"id": 1}}', "recipient_id", "not an object"),
    ('{"recipient_id": ""}', "recipient_id", "1 to 256 characters, not 0"),
    ('{"recipient_id": "%s"}' % ("x" * 257), "recipient_id", "1 to 256 characters, not 257"),
    ('{"recipient_id": "a\\nb"}', "recipient_id", "control characters, has U+000A at character 2"),
    ('{"recipient_id": "a\\u0085"}', "recipient_id", "control characters"),
    ('{"recipient_id": "\\u007f"}', "recipient_id", "control characters"),
    ('{"recipient_id": []}', "recipient_id", "1 to 1000 recipients, not 0"),
    ('{"recipient_id": [%s 1]}' % ("1, " * 1000), "recipient_id", "1000 recipients, not 1001"),
    ('{"recipient_id": [1, "*"]}', "recipient_id[1]", "everyone is everyone"),
    ('{"recipient_id": [1, "2", ""]}', "recipient_id[2]", "1 to 256 characters"),
    ('{"recipient_id": ["\\u0000"]}', "recipient_id[0]", "control characters"),
    ('{"recipient_id": [1, [2]]}', "recipient_id[1]", "not an array"),
    ('{"recipient_id": [1, null]}', "recipient_id[1]", "not null"),
    ('{"recipient_id": [1, %s]}' % ("2" * 9999), "recipient_id[1]", "such a number"),
    ('{"recipient_id": 1, "recipient_id": 2}', "recipient_id", "more than once"),
    ('{"recipient_id": 1, "recipient\\u005Fid": 2}', "recipient_id", "more than once"),
    ('{"\\u0072ecipient_id": [2], "recipient_id": 1}', "recipient_id", "more than once"),
    ('{"recipient_i\\u0064": 1, "recipient_i\\u0064": 1}', "recipient_id", "more than once"),
    ('{"recipient_id": 1, "event": null}', "event", "must be a string, not null"),
    ('{"recipient_id": 1, "event": 7, "data": 1e999999}', "event", "a string, not a number"),
    ('{"recipient_id": 1, "event": ["x"]}', "event", "must be a string, not an array"),
    ('{"recipient_id": 1, "event": ""}', "event", "1 to 128 characters, not 0"),
    ('{"recipient_id": 1, "event": "%s"}' % ("x" * 129), "event", "128 characters, not 129"),
    ('{"recipient_id": 1, "event": "open"}', "event", 'must not be "open"'),
    ('{"recipient_id": 1, "event": "error"}', "event", 'must not be "error"'),
    ('{"recipient_id": 1, "event": "e\\u0072ror"}', "event", 'must not be "error"'),
    ('{"recipient_id": 1, "event": "aionotify.gap"}', "event", 'must not begin with "aionotify."'),
    (
        '{"recipient_id": 1, "event": "aionotify\\u002e"}',
        "event",
        'must not begin with "aionotify."',
    ),
    ('{"recipient_id": 1, "id": 7}', "id", "must be a string, not a number"),
    ('{"recipient_id": 1, "id": {}}', "id", "must be a string, not an object"),
    ('{"recipient_id": 1, "id": ""}', "id", "1 to 128 characters, not 0"),
    ('{"recipient_id": 1, "id": "%s"}' % ("x" * 129), "id", "1 to 128 characters, not 129"),
    *(
        (f'{{"recipient_id": 1, "event": {json.dumps("a" + char + "data: b")}}}', "event", "break")
        for char in "\0" + BREAKS
    ),
]


@pytest.mark.parametrize(("message", "field", "reason"), REFUSED)
def test_what_breaks_the_contract_is_refused_with_the_member_and_the_reason(
    message: bytes | str, field: str, reason: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(message.encode() if isinstance(message, str) else message)
    assert list(caught.value.fields) == [field]
    assert reason in caught.value.fields[field]


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(b'{"recipient_id": "", "event": "open", "id": ""}')
    assert list(caught.value.fields) == ["recipient_id", "event", "id"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map("¶".__add__))
def test_a_reason_never_quotes_the_payload(secret: str) -> None:
    quoted = json.dumps(secret)
    for message in (
        f'{{"recipient_id": {{{quoted}: {quoted}}}, "event": [{quoted}], "id": [{quoted}]}}',
        f'{{"recipient_id": [{quoted}, null], "event": {quoted[:-1]}\\n"}}',
        f'{{"recipient_id": 1, {quoted}}}',
        f"[{quoted}]",
        f"{{{quoted}: 1, }}",
    ):
        with pytest.raises(InvalidEvent) as caught:
            decode(message.encode())
        assert secret not in str(caught.value)


def test_an_event_may_be_as_long_as_allowed_and_no_longer() -> None:
    message = b'{"recipient_id": 1}'
    assert decode(message, max_bytes=len(message)).recipients == ("1",)
    with pytest.raises(InvalidEvent, match="19 bytes long, at most 18"):
        decode(message, max_bytes=len(message) - 1)


BREAK = "\x85\u2028\u2029"  # 8 bytes, and 18 when they are escaped


def test_an_event_is_as_long_as_the_line_that_clients_get() -> None:
    message = f'{{"recipient_id": 1, "{BREAK}": "{BREAK}"}}'.encode()
    line = len(message) + 20
    assert len(decode(message, max_bytes=line).data("1")) == line
    with pytest.raises(InvalidEvent, match=f"body: is {line} bytes long on one line, at most"):
        decode(message, max_bytes=line - 1)


@pytest.mark.parametrize("recipient", ["u", "😀" * 256, ["a" * 256, "😀" * 256]])
@pytest.mark.parametrize("text", ["x", "é", "😀", BREAK, '\\"', "\\u00e9", "\\u0000"])
def test_the_frame_of_the_longest_event_fits_64_kib(recipient: str | list[str], text: str) -> None:
    """Whatever is in it: some clients have no more for a line or a frame."""
    head = f'{{"recipient_id": {json.dumps(recipient)}, "event": "{"😀" * 128}", "{text}": "'

    def event(count: int) -> bytes:
        return f'{head}{text * count}"}}'.encode()

    def is_taken(count: int) -> bool:
        try:
            decode(event(count))
        except InvalidEvent:
            return False
        return True

    longest = bisect_left(range(70_000), True, key=lambda count: not is_taken(count)) - 1
    assert longest > 1000
    taken = decode(event(longest))
    for user in taken.recipients:
        content = frame(taken.data(user), taken.type, b"c" * cursor.MAX_CHARS)
        assert len(content) <= 65_536
        # And what protocol.rst says of it.
        assert len(content) - len(taken.data(user)) == 661


def test_a_list_may_hold_a_thousand_recipients() -> None:
    event = decode(json.dumps({"recipient_id": list(range(1000))}).encode())
    assert len(event.recipients) == 1000


@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("recipient", ['"1"', '["1"]', '"recipient_id"'])
def test_nesting_has_one_limit_wherever_it_is_checked(brackets: str, recipient: str) -> None:
    """What one node accepts, from whatever depth of its stack, another one must not refuse."""

    def nested(levels: int) -> bytes:
        end = brackets[1]
        inner = '{"a":' if end == "}" else "["
        value = inner * (levels - 1) + brackets + end * (levels - 1)
        return f'{{"recipient_id": {recipient}, "data": {value}}}'.encode()

    def called(frames: int, levels: int) -> object:
        return called(frames - 1, levels) if frames else decode(nested(levels))

    for frames in (0, 300):
        assert called(frames, MAX_DEPTH - 1)
        for levels in (MAX_DEPTH, 600, *range(900, 1005, 3), 10_000):
            with pytest.raises(InvalidEvent, match="nested") as caught:
                called(frames, levels)
            assert list(caught.value.fields) == ["body"]


def test_brackets_in_text_are_not_nesting() -> None:
    text = "[" * 2000 + '\\"' + "{" * 2000
    raw = f'{{"recipient_id": 1, "data": ["{text}", "{text}"]}}'.encode()
    assert decode(raw).data("1") == raw


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_any_bytes_are_an_event_or_invalid(message: bytes) -> None:
    if event_or_none(message):
        assert isinstance(exact(message), dict)


@given(messages(), st.data())
@settings(max_examples=150)
def test_a_damaged_event_is_still_an_event_or_invalid(
    message: tuple[bytes, dict[str, Any]], data: st.DataObject
) -> None:
    raw = bytearray(message[0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        assume(raw)
    if event := event_or_none(bytes(raw)):
        for recipient in event.recipients:
            line = event.data(recipient)
            assert not set(line.decode()) & set(BREAKS)
            assert isinstance(exact(line), dict)


@given(values)
def test_any_json_is_an_event_or_invalid(value: Any) -> None:
    if event_or_none(json.dumps(value).encode()):
        assert "recipient_id" in value


@given(user_ids)
def test_whatever_may_be_in_an_event_may_be_asked_for(user_id: Any) -> None:
    assert check_recipient(user_id) is None


# --- bodies of several events -------------------------------------------------------------------


@given(st.lists(messages(), min_size=1, max_size=5), st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_an_object_an_array_and_lines_are_told_apart(
    written: list[tuple[bytes, dict[str, Any]]], end: bytes
) -> None:
    raw = [message for message, _ in written]
    expected = [exact(message) for message in raw]
    array = b"[" + b",".join(raw) + b"]"
    lines = end.join(json.dumps(event).encode() for _, event in written) + end
    assert [exact(part) for part in split_batch(raw[0])] == expected[:1]
    assert [exact(part) for part in split_batch(b" \n" + array)] == expected
    assert len(split_batch(lines)) == len(expected)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "holds no event"),
        (b" \n\r\n ", "holds no event"),
        (b"[]", "holds no event"),
        (b"[1, 2", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1}\n' * 4, "holds 4 events, at most 3"),
        (b"[1,2,3,4]", "holds 4 events, at most 3"),
    ],
)
def test_a_body_that_holds_no_events_or_too_many_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        split_batch(body, limit=3)


def test_a_bad_line_is_one_bad_event() -> None:
    assert split_batch(b'{"a": 1}\n{"a": \n{"a": 3}') == [b'{"a": 1}', b'{"a":', b'{"a": 3}']


@pytest.mark.parametrize(
    ("message", "recipient"),
    [
        (b'{"recipient_id": "42", "event": "open"}', "42"),
        (b'{"data": {"recipient_id": "7"}, "recipient_id": 42}', "42"),
        (b'{"recipient_id": "*"}', None),
        (b'{"recipient_id": ["42"]}', None),
        (b'{"recipient_id": ""}', None),
        (b'{"recipient_id": "a\\u0007"}', None),
        (b'{"recipient_id": "%s"}' % (b"x" * 257), None),
        (b'{"recipient_id": "\xff"}', None),
        (b'{"recipient_id": "42"', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_a_message_for_one_user_says_so_without_being_decoded(
    message: bytes, recipient: str | None
) -> None:
    assert sole_recipient(message) == recipient


# --- groups ---------------------------------------------------------------------------------------


def test_an_event_for_one_group_is_passed_on_as_it_was_published() -> None:
    event = decode(b' {"n": 1.50, "group_id": "team:7"} ')
    assert (event.recipients, event.groups) == ((), ("team:7",))
    assert event.receivers == (GroupId("team:7"),)
    assert event.data(GroupId("team:7")) == b'{"n": 1.50, "group_id": "team:7"}'
    assert event.shared()


def test_an_event_for_several_names_to_each_only_itself() -> None:
    """At the place of the first member that names them; users come first."""
    event = decode(
        b'{"a": 1, "group_id": ["g", 42, "g"], "b": 2.0, "recipient_id": "42", "c": [3]}'
    )
    assert event.receivers == ("42", GroupId("g"), GroupId("42"))
    assert event.data("42") == b'{"a":1,"recipient_id":"42","b":2.0,"c":[3]}'
    assert event.data(GroupId("g")) == b'{"a":1,"group_id":"g","b":2.0,"c":[3]}'
    assert event.data(GroupId("42")) == b'{"a":1,"group_id":42,"b":2.0,"c":[3]}'
    for receiver in event.receivers:
        assert decode(event.data(receiver)).receivers == (receiver,)


def test_the_options_of_an_event_for_groups_are_stored_with_each_copy() -> None:
    event = decode(b'{"group_id": ["a", "b"], "aionotify": {"expires_in": 5}, "n": 1}')
    for receiver in event.receivers:
        stored = decode(event.stored(receiver))
        assert stored.receivers == (receiver,)
        assert stored.options == event.options
        assert b"expires_in" not in event.data(receiver)


@pytest.mark.parametrize(
    "message",
    [
        b'{"group_id": "a", "group_id": "b"}',
        b'{"group_id": "a", "gr\\u006fup_id": "b"}',
        b'{"recipient_id": "a", "group_id": "x", "n": 1, "group_id": ["b"]}',
    ],
)
def test_groups_are_named_once(message: bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(message)
    assert caught.value.fields == {"group_id": "is given more than once"}


def test_an_event_that_names_nobody_is_told_both_ways() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode(b'{"n": 1}')
    [(field, text)] = caught.value.fields.items()
    assert (field, "group_id" in text) == ("recipient_id", True)


def test_a_message_for_a_group_is_for_no_sole_recipient() -> None:
    assert sole_recipient(b'{"recipient_id": "42"}') == "42"
    assert sole_recipient(b'{"recipient_id": "42", "group_id": "a"}') is None
    assert sole_recipient(b'{"group_id": "a"}') is None
