"""What nodes that leave say of tokens: readable for who shows the token, and for nobody else."""

import contextlib
import math
import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.auth.vouched import MAX_RECORDS, Message, Record, Vouched, decode, name, seal, unseal
from aionotify.errors import InvalidEvent

SOURCE, OTHER = secrets.token_bytes(16), secrets.token_bytes(16)
TOKEN = "the-token-of-alice"
ALICE = Vouched("alice", 12.5, 200.0, math.inf)


def message(**members: object) -> bytes:
    """A message as it should not be, but for what is left as it is."""
    whole = {"source": SOURCE, "number": 0, "heard": -1, "hold": 60.0, "records": []}
    return msgspec.msgpack.encode(list({**whole, **members}.values()))


def test_a_record_is_read_with_its_token() -> None:
    record = seal(ALICE, TOKEN, SOURCE, 7)
    assert record.name == name(TOKEN, SOURCE)
    assert unseal(record.sealed, TOKEN, SOURCE, 7) == ALICE


def test_a_record_is_not_read_with_anything_else() -> None:
    sealed = seal(ALICE, TOKEN, SOURCE, 7).sealed
    assert unseal(sealed, "the-token-of-bob", SOURCE, 7) is None
    assert unseal(sealed, TOKEN, OTHER, 7) is None
    assert unseal(sealed, TOKEN, SOURCE, 8) is None
    assert unseal(sealed[:-1], TOKEN, SOURCE, 7) is None
    assert unseal(b"", TOKEN, SOURCE, 7) is None
    assert unseal(bytes([sealed[0] ^ 1]) + sealed[1:], TOKEN, SOURCE, 7) is None


def test_neither_token_nor_user_is_in_a_message() -> None:
    sent = Message(SOURCE, 1, 0, 60.0, [seal(ALICE, TOKEN, SOURCE, 1)]).encoded()
    for secret in (TOKEN, "alice"):
        assert secret.encode() not in sent


def test_what_is_said_of_a_token_twice_has_nothing_in_common() -> None:
    """Not even under which name, unless it is by the same node: deploys cannot be compared."""
    ones = [seal(ALICE, TOKEN, SOURCE, 1), seal(ALICE, TOKEN, SOURCE, 2)]
    others = seal(ALICE, TOKEN, OTHER, 1)
    assert len({record.sealed for record in (*ones, others)}) == 3
    assert ones[0].name == ones[1].name != others.name


def test_a_message_is_what_was_sent() -> None:
    records = [seal(ALICE, f"{TOKEN}{number}", SOURCE, 3) for number in range(MAX_RECORDS)]
    sent = Message(SOURCE, 3, 2, 60.0, records)
    assert decode(sent.encoded()) == sent


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        message(source=b"short"),
        message(source=SOURCE * 2),
        message(source="text"),
        message(number=-1),
        message(number=2**64 - 1),
        message(heard=-2),
        message(hold=-1.0),
        message(hold=math.nan),
        message(hold="60"),
        message(records=[(b"short", b"")]),
        message(records=[(bytes(16), bytes(4096))]),
        message(records=[(bytes(16), b"")] * (MAX_RECORDS + 1)),
        message(records=[bytes(16)]),
        message(records=None),
        msgspec.msgpack.encode([SOURCE, 0]),
        message() + b"more",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode(data)


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidEvent):
        message = decode(data)
        assert decode(message.encoded()) == message


def test_a_record_is_small() -> None:
    assert len(msgspec.msgpack.encode(Record(*seal(ALICE, TOKEN, SOURCE, 1)))) < 100
