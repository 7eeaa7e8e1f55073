"""Tokens that prove by their signature who they belong to."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import Key, OctKey, OKPKey

from aionotify.auth import Identity, InvalidToken, revalidate
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.config import JWTConfig
from aionotify.errors import ConfigError
from tests.auth.helpers import bearer, make_request
from tests.auth.jwt_tokens import SECRET, claims, ec, ed, public_pem, rsa, sign, static

NOW = 1_800_000_000


async def owner(config: JWTConfig, token: str) -> str:
    return (await JWTAuthenticator(config).identify(token)).user_id


async def refused(config: JWTConfig, token: str) -> None:
    authenticator = JWTAuthenticator(config)
    with pytest.raises(InvalidToken):
        await authenticator.identify(token)
    assert (authenticator.stats.jwt_accepted, authenticator.stats.jwt_refused) == (0, 1)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((name, rsa()) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", ec("P-256")),
        ("ES384", ec("P-384")),
        ("ES512", ec("P-521")),
        ("EdDSA", ed()),
    ],
)
async def test_a_token_signed_with_the_private_key_is_accepted(algorithm: str, key: Key) -> None:
    assert await owner(static(public_pem(key), algorithm), sign(key, algorithm)) == "alice"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_token_signed_with_the_shared_secret_is_accepted(algorithm: str) -> None:
    token = sign(OctKey.import_key(SECRET), algorithm)
    assert await owner(static(SECRET, algorithm), token) == "alice"


@pytest.mark.parametrize("text", [public_pem(ec()), json.dumps(ec().as_dict(private=False))])
async def test_a_key_may_come_from_a_file_as_pem_or_jwk(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(f"{text}\n")
    config = JWTConfig(key_file=str(file), algorithms=("ES256",))
    assert await owner(config, sign(ec(), "ES256", kid="whatever")) == "alice"


@pytest.mark.parametrize("curve", ["X25519", "X448"])
def test_a_key_for_encryption_is_refused_as_a_key_for_signatures(curve: str) -> None:
    """It is of the same type as one that signs (RFC 8037), and verifies nothing."""
    key = OKPKey.generate_key(curve)  # type: ignore[arg-type]
    for text in (public_pem(key), json.dumps(key.as_dict(private=False))):
        with pytest.raises(ConfigError, match="got one of another kind"):
            JWTAuthenticator(static(text, "EdDSA"))


async def test_it_comes_as_a_bearer_token_or_in_the_cookie() -> None:
    token = sign(ec(), "ES256")
    config = static(public_pem(ec()), "ES256")
    authenticator = JWTAuthenticator(config, cookie="session")
    for request in (bearer(token), make_request(("Cookie", f"session={token}"))):
        assert (await authenticator.authenticate(request)).user_id == "alice"
        assert (await revalidate(authenticator, request)).user_id == "alice"


async def test_the_identity_ends_when_the_token_stops_being_accepted() -> None:
    """Otherwise one within the leeway would open a stream that ends at once, over and over."""
    config = static(public_pem(ec()), "ES256", leeway=10.0)
    authenticator = JWTAuthenticator(config, clock=lambda: NOW)
    identity = await authenticator.identify(sign(ec(), "ES256", {"sub": "alice", "exp": NOW - 5}))
    assert identity == Identity("alice", expires_at=NOW + 5)


async def test_the_user_id_comes_from_the_configured_claim() -> None:
    config = static(public_pem(ec()), "ES256", user_claim="uid")
    assert await owner(config, sign(ec(), "ES256", claims(uid=42))) == "42"
    await refused(config, sign(ec(), "ES256", claims()))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": NOW - 10},
        {"exp": float("nan")},
        {"exp": []},
        {"nbf": NOW + 11},
        {"nbf": "now"},
        {"iat": NOW + 11},
        {"iat": {}},
        {"sub": None},
        {"sub": ""},
        {"sub": "*"},
        {"sub": "a\nb"},
        {"sub": ["alice"]},
        {"sub": "x" * 257},
        {"aud": None},
        {"aud": "others"},
        {"aud": ["others", "more"]},
        {"aud": []},
        {"aud": {"notify": 1}},
        {"iss": None},
        {"iss": "https://evil.example"},
        {"iss": ["https://issuer.example"]},
    ],
    ids=str,
)
async def test_a_signed_token_is_refused_when_a_claim_is_not_right(changes: dict[str, Any]) -> None:
    right = {"exp": NOW + 60, "iat": NOW, "aud": "notify", "iss": "https://issuer.example"}
    config = static(
        public_pem(ec()), "ES256", audience="notify", issuer="https://issuer.example", leeway=10.0
    )
    authenticator = JWTAuthenticator(config, clock=lambda: NOW)
    await authenticator.identify(sign(ec(), "ES256", claims(**right)))
    with pytest.raises(InvalidToken):
        await authenticator.identify(sign(ec(), "ES256", claims(**right | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 9},
        {"exp": NOW + 0.5},
        {"exp": 10**400},
        {"nbf": NOW + 10},
        {"iat": NOW + 10},
        {"iat": None},
        {"aud": ["others", "notify"]},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_clocks_may_differ_and_a_token_may_be_for_others_too(changes: dict[str, Any]) -> None:
    right = {"exp": NOW + 60, "iat": NOW, "aud": "notify"}
    config = static(public_pem(ec()), "ES256", audience="notify", leeway=10.0)
    authenticator = JWTAuthenticator(config, clock=lambda: NOW)
    identity = await authenticator.identify(sign(ec(), "ES256", claims(**right | changes)))
    assert identity.expires_at is not None
    assert identity.expires_at > NOW


async def test_an_expired_token_is_told_apart_for_those_who_have_to_renew_it() -> None:
    token = sign(ec(), "ES256", claims(exp=int(time.time()) - 60))
    with pytest.raises(InvalidToken, match="expired"):
        await JWTAuthenticator(static(public_pem(ec()), "ES256")).identify(token)


@pytest.mark.parametrize(
    "config",
    [
        JWTConfig(algorithms=("ES256",)),
        JWTConfig(key=public_pem(ec())),
        static(public_pem(ec()), "none"),
        static(public_pem(ec()), "ES256", "none"),
        static(public_pem(ec()), "HS256"),
        static(public_pem(ec()), "RS256"),
        static(public_pem(ec("P-384")), "ES256"),
        static(SECRET, "ES256"),
        static(SECRET[:31], "HS256"),
        static(SECRET[:63], "HS256", "HS512"),
        static("-----BEGIN PUBLIC KEY-----\nbm9uc2Vuc2U=\n-----END PUBLIC KEY-----", "ES256"),
        static('{"kty": "EC"}', "ES256"),
        static("{nonsense", "ES256"),
        static(json.dumps({**ec().as_dict(private=False), "use": "enc"}), "ES256"),
        JWTConfig(key_file="/nowhere/at/all", algorithms=("ES256",)),
    ],
    ids=lambda config: f"{(config.key or '')[:28]!r} {config.algorithms}",
)
def test_keys_and_algorithms_that_do_not_fit_are_refused_at_start(config: JWTConfig) -> None:
    with pytest.raises(ConfigError) as raised:
        JWTAuthenticator(config)
    assert not config.key or config.key[30:50] not in str(raised.value) or len(config.key) < 30


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ({"teams": ["a", 7]}, {"a", "7"}),
        ({"teams": []}, set()),
        ({"groups": ["a"]}, set()),
        ({}, set()),
    ],
)
async def test_groups_come_from_the_configured_claim(given: Any, groups: set[str]) -> None:
    config = static(public_pem(ec()), "ES256", groups_claim="teams")
    token = sign(ec(), "ES256", claims(**given))
    assert (await JWTAuthenticator(config).identify(token)).groups == groups


async def test_groups_are_not_looked_for_unless_a_claim_is_configured() -> None:
    config = static(public_pem(ec()), "ES256")
    token = sign(ec(), "ES256", claims(groups="nonsense"))
    assert (await JWTAuthenticator(config).identify(token)).groups == frozenset()


@pytest.mark.parametrize(
    "groups", ["a b", {"a": 1}, 7, False, ["a", "*"], ["a\nb"], [None], list(range(101))]
)
async def test_a_token_with_nonsense_for_groups_is_refused(groups: Any) -> None:
    await refused(
        static(public_pem(ec()), "ES256", groups_claim="groups"),
        sign(ec(), "ES256", claims(groups=groups)),
    )
