"""How an answer of the main host is sealed, and to whom it is of use."""

import math
import secrets

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aionotify.auth.answer import Answer, Key
from tests.auth.answer_nodes import HOST

SECRET = bytes(16)
KEY = Key(HOST, "alice-token")
ANSWER = Answer("alice", 7, 100.0, math.inf)


def test_what_is_sealed_is_unsealed_by_the_same_token_at_the_same_place() -> None:
    assert KEY.unseal(KEY.seal(ANSWER, SECRET), SECRET) == ANSWER


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        (Key(HOST, "bob-token"), SECRET),
        (Key("http://other.example/api/", "alice-token"), SECRET),
        (KEY, bytes(15) + b"1"),
    ],
)
def test_it_is_of_no_use_to_another_token_main_host_or_installation(
    key: Key, secret: bytes
) -> None:
    assert key.name(secret) != KEY.name(SECRET)
    assert key.unseal(KEY.seal(ANSWER, SECRET), secret) is None


def test_it_is_of_no_use_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the key were the same: the name is what is authenticated with it."""
    sealed = KEY.seal(ANSWER, SECRET)
    monkeypatch.setattr(Key, "name", lambda key, secret: "another")
    assert KEY.unseal(sealed, SECRET) is None


def test_no_nonce_comes_twice() -> None:
    sealed = {KEY.seal(ANSWER, SECRET) for _ in range(1000)}
    assert len({each[:12] for each in sealed}) == 1000


def test_what_is_sealed_says_nothing_of_token_or_user() -> None:
    sealed, name = KEY.seal(ANSWER, SECRET), KEY.name(SECRET)
    assert b"alice" not in sealed
    assert "alice" not in name
    assert len(name) == 32
    assert name != Key(HOST, "alice-tokeo").name(SECRET)


def _sealed(content: bytes) -> bytes:
    nonce = secrets.token_bytes(12)
    cipher = AESGCM(KEY._hash(SECRET, b"answer's seal", 32))
    return nonce + cipher.encrypt(nonce, content, KEY.name(SECRET).encode())


def test_what_later_versions_append_is_passed_over() -> None:
    content = msgspec.msgpack.encode(["alice", 7, 100.0, math.inf, ["group"], {"more": 1}])
    with_group = msgspec.structs.replace(ANSWER, groups=("group",))
    assert KEY.unseal(_sealed(content), SECRET) == with_group


@pytest.mark.parametrize(
    "sealed",
    [
        b"",
        b"x",
        bytes(12),
        bytes(100),
        bytes(10**6),
        KEY.seal(ANSWER, SECRET)[:-1],
        _sealed(b""),
        _sealed(msgspec.msgpack.encode(["alice", 7])),
        _sealed(msgspec.msgpack.encode([42, 7, 100.0, 1.0])),
        _sealed(msgspec.msgpack.encode({})),
    ],
)
def test_what_is_no_answer_is_none(sealed: bytes) -> None:
    assert KEY.unseal(sealed, SECRET) is None


def test_any_secret_that_redis_may_name_will_do() -> None:
    for secret in (b"", b"x" * 1000):
        assert KEY.unseal(KEY.seal(ANSWER, secret), secret) == ANSWER


def test_an_answer_of_an_earlier_version_has_no_groups_and_one_of_ours_is_read_by_it() -> None:
    """Which reads what it knows, and no more."""
    old = _sealed(msgspec.msgpack.encode(["alice", 7, 100.0, math.inf]))
    assert KEY.unseal(old, SECRET) == ANSWER

    class Earlier(msgspec.Struct, array_like=True):
        user_id: str
        number: int
        at: float
        ends: float

    ours = msgspec.msgpack.encode(msgspec.structs.replace(ANSWER, groups=("team:7",)))
    assert msgspec.msgpack.decode(ours, type=Earlier).user_id == "alice"
