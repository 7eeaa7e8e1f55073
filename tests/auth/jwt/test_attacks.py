"""Forged JWTs, by the ways that libraries have fallen for (RFC 8725 section 2)."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key

from aionotify.auth import InvalidToken
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.config import JWTConfig
from tests.auth.jwt_tokens import (
    SECRET,
    b64,
    claims,
    ec,
    forge,
    public_pem,
    rsa,
    sign,
    static,
)
from tests.auth.stub_main_host import StubMainHost

CONFIG = static(public_pem(ec()), "ES256")


async def refused(token: str, config: JWTConfig = CONFIG) -> None:
    with pytest.raises(InvalidToken):
        await JWTAuthenticator(config).identify(token)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "x", b64(b"x" * 64)])
async def test_a_token_without_a_signature_is_refused(name: str, signature: str) -> None:
    await refused(forge({"alg": name}, claims()) + signature)


async def test_the_signature_cannot_be_left_off() -> None:
    token = sign(ec(), "ES256")
    await refused(token.rpartition(".")[0] + ".")
    await refused(token.rpartition(".")[0])


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", rsa()), ("ES256", ec())])
async def test_a_public_key_is_not_taken_for_a_shared_secret(algorithm: str, key: Key) -> None:
    """Its text is known to everyone, so an HMAC under it proves nothing."""
    pem = public_pem(key)
    for secret in (pem, pem.strip(), pem + "\n", json.dumps(key.as_dict(private=False))):
        token = forge({"alg": "HS256"}, claims(), secret.encode())
        await refused(token, static(pem, algorithm))
        await refused(token, static(pem, algorithm, "HS256"))


async def test_an_algorithm_that_is_not_allowed_is_refused_though_the_key_would_fit() -> None:
    await refused(sign(rsa(), "RS256"), static(public_pem(rsa()), "RS512", "PS256"))


async def test_a_key_of_another_curve_is_not_used() -> None:
    await refused(sign(ec("P-384"), "ES384"), static(public_pem(ec()), "ES256", "ES384"))


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
async def test_a_token_does_not_bring_its_own_key(member: str, host: StubMainHost) -> None:
    """Neither is the key in the header used nor the address in the header asked."""
    own = ECKey.generate_key("P-256", {"kid": "own"})
    host.says(json.dumps({"keys": [own.as_dict(private=False)]}))
    value: object = {
        "jwk": own.as_dict(private=False),
        "jku": host.url,
        "x5u": host.url,
        "x5c": [b64(own.as_der())],
    }[member]
    for header in ({member: value}, {member: value, "kid": "own"}):
        await refused(sign(own, "ES256", None, **header))
    assert not host.asked


async def test_an_address_in_the_header_of_a_good_token_is_not_asked(
    host: StubMainHost,
) -> None:
    token = sign(ec(), "ES256", jku=host.url, x5u=host.url)
    await JWTAuthenticator(CONFIG).identify(token)
    assert not host.asked


@pytest.mark.parametrize("crit", [["exp"], ["b64"], ["made-up"], [], "exp", 1])
async def test_a_token_that_insists_on_an_extension_is_refused(crit: object) -> None:
    """RFC 7515 section 4.1.11; we understand none."""
    header = {"alg": "HS256", "crit": crit, "b64": True, "exp": 1, "made-up": 1}
    await refused(forge(header, claims(), SECRET.encode()), static(SECRET, "HS256"))


async def test_a_payload_that_is_not_encoded_is_refused() -> None:
    header = {"alg": "HS256", "b64": False, "crit": ["b64"]}
    await refused(forge(header, claims(), SECRET.encode()), static(SECRET, "HS256"))


async def test_every_part_of_a_token_is_signed() -> None:
    header, payload, signature = sign(ec(), "ES256").split(".")
    other = claims(sub="bob")
    await refused(f"{header}.{b64(other)}.{signature}")
    await refused(f"{b64({'alg': 'ES256', 'kid': 'x'})}.{payload}.{signature}")
    await refused(f"{header}.{payload}.{b64(bytes(64))}")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    await refused(f"{header}.{payload}.{flipped}")


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_has_one_spelling(part: int) -> None:
    """Padding or the other alphabet would give one token many names in a log or a deny list."""
    parts = sign(ec(), "ES256").split(".")
    parts[part] += "="
    await refused(".".join(parts))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "abc",
        "....",
        f"{b64({'alg': 'dir', 'enc': 'A256GCM'})}....",
        forge([], claims()),
        forge("alg", claims()),
        forge(None, claims()),
        forge({}, claims()),
        forge({"alg": None}, claims()),
        forge({"alg": ["ES256"]}, claims()),
        forge({"alg": {"ES256": 1}}, claims()),
        forge({"alg": "ES256", "kid": 1}, claims()),
        f"{b64(b'[' * 3000)}.{b64(b'{}')}.",
        f"{b64(bytes([255, 254]))}.{b64(b'{}')}.",
    ],
    ids=lambda token: token[:30],
)
async def test_what_is_no_signed_jwt_is_refused(token: str) -> None:
    await refused(token)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"1", b'"x"', b"null", b"\xff", b"[" * 2000, b"1" * 2900]
)
async def test_a_signed_payload_that_is_no_json_object_is_refused(payload: bytes) -> None:
    await refused(forge({"alg": "HS256"}, payload, SECRET.encode()), static(SECRET, "HS256"))


@pytest.mark.parametrize("sub", [b"\\ud800", b"\\u0000", b"*", b"a\\nb"])
async def test_a_signed_user_id_that_cannot_be_one_is_refused(sub: bytes) -> None:
    payload = b'{"exp": 9999999999, "sub": "%b"}' % sub
    await refused(forge({"alg": "HS256"}, payload, SECRET.encode()), static(SECRET, "HS256"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["HS256", "ES256", "none"]) | JSON},
    optional={"kid": JSON, "crit": JSON, "b64": JSON, "typ": JSON, "jwk": JSON, "zip": JSON},
)
CLAIMS = st.fixed_dictionaries(
    {"exp": JSON}, optional={"sub": JSON, "nbf": JSON, "iat": JSON, "aud": JSON, "iss": JSON}
)


@settings(max_examples=300, deadline=None)
@given(HEADERS | JSON, CLAIMS | JSON)
async def test_no_header_and_no_claims_do_more_than_be_refused(
    header: object, what: object
) -> None:
    """Even when they are signed, which an attacker cannot do."""
    config = static(SECRET, "HS256", audience="notify", issuer="issuer")
    await refused(forge(header, what, SECRET.encode()), config)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(st.binary(max_size=40).map(b64), min_size=1, max_size=6).map(".".join)
)
async def test_no_text_does_more_than_be_refused(token: str) -> None:
    await refused(token)
