"""Signing keys from an address, while they change and while the address fails."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from joserfc.jwk import Key, OctKey, OKPKey

from aionotify.auth import AuthUnavailable, InvalidToken
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.jwt.jwks import MAX_AGE, MAX_BYTES, PAUSE, SHORT_PAUSE, Jwks
from aionotify.auth.jwt.keys import public_keys
from aionotify.auth.stats import AuthStats
from aionotify.config import JWTConfig
from aionotify.errors import ConfigError
from aionotify.telemetry.logs import bare
from tests.auth.helpers import Clock, until
from tests.auth.jwt_tokens import SECRET, ec, ed, rsa, sign
from tests.auth.stub_main_host import StubMainHost

OLD, NEW = ec(name="old"), ec("P-256", "new")


def publish(host: StubMainHost, *keys: Key, more: list[Any] | None = None) -> None:
    members = [key.as_dict(private=False) for key in keys]
    host.says(json.dumps({"keys": members + (more or [])}))


@pytest.fixture
async def jwks(host: StubMainHost, clock: Clock) -> AsyncIterator[Jwks]:
    publish(host, OLD)
    keys = Jwks(f"{host.url}/jwks.json", ("ES256", "RS256"), stats=AuthStats(), clock=clock)
    yield keys
    await keys.close()


async def test_the_keys_are_fetched_once_when_the_first_token_comes(
    jwks: Jwks, host: StubMainHost
) -> None:
    assert not host.asked
    found = await asyncio.gather(*(jwks.find("ES256", "old") for _ in range(100)))
    assert {key.kid for key in found if key} == {"old"}
    assert [request.path for request in host.asked] == ["/jwks.json"]


async def test_a_new_key_is_fetched_when_a_token_names_it(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    await jwks.find("ES256", "old")
    publish(host, OLD, NEW)
    clock.advance(PAUSE)
    assert await jwks.find("ES256", "new") is not None
    assert await jwks.find("ES256", "old") is not None
    assert len(host.asked) == 2


async def test_tokens_with_made_up_key_ids_do_not_make_it_ask_often(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    refused = 0
    for number in range(100):
        with contextlib.suppress(AuthUnavailable):
            assert await jwks.find("ES256", f"made-up-{number}") is None
            refused += 1
        clock.advance(PAUSE / 50)
    assert refused == len(host.asked) <= 3


async def test_a_key_that_may_have_been_published_since_is_not_refused(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    """To a client a refusal is final, and anybody's made-up token would bring it about."""
    assert await jwks.find("ES256", "made-up") is None
    publish(host, OLD, NEW)
    clock.advance(PAUSE / 3)
    with pytest.raises(AuthUnavailable) as caught:
        await jwks.find("ES256", "new")
    assert caught.value.retry_after == pytest.approx(PAUSE * 2 / 3)
    clock.advance(PAUSE * 2 / 3)
    assert await jwks.find("ES256", "new") is not None


async def test_a_key_that_was_withdrawn_is_refused_at_once(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    """That it is gone is known, whoever has just had the keys fetched."""
    await jwks.find("ES256", "old")
    publish(host, NEW)
    clock.advance(PAUSE)
    assert await jwks.find("ES256", "made-up") is None
    assert await jwks.find("ES256", "old") is None
    publish(host, OLD, NEW)
    clock.advance(PAUSE)
    assert await jwks.find("ES256", "another") is None
    assert await jwks.find("ES256", "old") is not None


async def test_after_a_failure_it_looks_again_soon(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    await jwks.find("ES256", "old")
    host.says("", status=503)
    clock.advance(PAUSE)
    with pytest.raises(AuthUnavailable) as caught:
        await jwks.find("ES256", "new")
    assert caught.value.retry_after == pytest.approx(SHORT_PAUSE)
    publish(host, OLD, NEW)
    clock.advance(SHORT_PAUSE)
    assert await jwks.find("ES256", "new") is not None


async def test_a_key_that_was_withdrawn_is_forgotten_within_the_hour(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    await jwks.find("ES256", "old")
    publish(host, NEW)
    clock.advance(MAX_AGE - 1)
    assert await jwks.find("ES256", "old") is not None
    clock.advance(1)
    assert await jwks.find("ES256", "old") is None


async def test_while_the_address_fails_the_keys_it_gave_go_on_working(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    await jwks.find("ES256", "old")
    host.says("", status=503)
    clock.advance(MAX_AGE)
    for _ in range(10):
        assert await jwks.find("ES256", "old") is not None
    assert len(host.asked) == 2
    with pytest.raises(AuthUnavailable):  # it may be in the set that cannot be had
        await jwks.find("ES256", "new")


async def test_without_any_keys_it_asks_again_soon(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    host.says("", status=503)
    for _ in range(10):
        with pytest.raises(AuthUnavailable):
            await jwks.find("ES256", "old")
    assert len(host.asked) == 1
    publish(host, OLD)
    clock.advance(SHORT_PAUSE)
    assert await jwks.find("ES256", "old") is not None


@pytest.mark.parametrize(
    ("body", "status", "headers"),
    [
        ("", 404, {}),
        ("", 302, {"Location": "/elsewhere"}),
        ("<html>", 200, {}),
        ("[]", 200, {}),
        ('{"keys": {}}', 200, {}),
        ('{"keys": []}', 200, {}),
        ('{"keys": [1, "x", null, {}, {"kty": "EC"}, {"kty": ["EC"]}]}', 200, {}),
        (json.dumps({"keys": [OctKey.import_key(SECRET).as_dict()]}), 200, {}),
        ("[" * 200_000, 200, {}),
        (" " * (MAX_BYTES + 1), 200, {}),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_what_is_no_key_set_changes_nothing(
    jwks: Jwks,
    host: StubMainHost,
    clock: Clock,
    body: str,
    status: int,
    headers: dict[str, str],
) -> None:
    await jwks.find("ES256", "old")
    host.says(body, status, headers)
    clock.advance(MAX_AGE)
    assert await jwks.find("ES256", "old") is not None
    assert {request.path for request in host.asked} == {"/jwks.json"}


async def test_a_slow_address_is_not_waited_for_long(
    jwks: Jwks, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.auth.jwt.jwks.TIMEOUT", 0.05)
    host.open.clear()
    with pytest.raises(AuthUnavailable):
        await jwks.find("ES256", "old")


async def test_keys_that_are_not_understood_do_not_spoil_the_others(
    jwks: Jwks, host: StubMainHost
) -> None:
    odd = [{"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}, {"kty": "RSA", "n": 1, "e": "AQAB"}, 7]
    publish(host, NEW, rsa(), more=odd)
    assert await jwks.find("ES256", "new") is not None
    assert await jwks.find("RS256", "rsa") is not None


def test_a_symmetric_key_in_a_set_is_left_out() -> None:
    """Whoever can read the set could sign with it."""
    keys = [OctKey.import_key(SECRET).as_dict(), OLD.as_dict(private=False)]
    assert [key.kid for key in public_keys({"keys": keys})] == ["old"]


async def test_a_key_is_found_only_for_algorithms_of_its_kind(
    jwks: Jwks, host: StubMainHost
) -> None:
    publish(host, OLD, rsa())
    assert await jwks.find("RS256", "old") is None
    assert await jwks.find("ES256", "rsa") is None
    assert await jwks.find("HS256", "old") is None


async def test_a_token_without_a_key_id_is_checked_with_the_only_key_of_its_kind(
    jwks: Jwks, host: StubMainHost, clock: Clock
) -> None:
    publish(host, OLD, rsa())
    assert await jwks.find("ES256", None) is not None
    publish(host, OLD, NEW)
    clock.advance(MAX_AGE)
    assert await jwks.find("ES256", None) is None


async def test_a_key_for_encryption_is_no_second_key(host: StubMainHost) -> None:
    """So a token that names no key has but one to fit."""
    publish(host, ed(), OKPKey.generate_key("X25519", {"kid": "encrypts"}))
    config = JWTConfig(jwks_url=host.url, algorithms=("EdDSA",))
    authenticator = JWTAuthenticator(config)
    assert (await authenticator.identify(sign(ed(), "EdDSA"))).user_id == "alice"
    await authenticator.close()


async def test_closing_ends_a_fetch_under_way(jwks: Jwks, host: StubMainHost) -> None:
    host.open.clear()
    waiting = asyncio.create_task(jwks.find("ES256", "old"))
    await until(lambda: host.asked)
    await jwks.close()
    with pytest.raises(AuthUnavailable, match="stopping"):
        await waiting


async def test_an_outage_is_logged_once(
    jwks: Jwks, host: StubMainHost, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aionotify.auth")
    host.says("", status=503)
    for _ in range(5):
        with pytest.raises(AuthUnavailable):
            await jwks.find("ES256", "old")
        clock.advance(SHORT_PAUSE)
    problems = [jwks.problem]
    publish(host, OLD)
    await jwks.find("ES256", "old")
    problems.append(jwks.problem)
    assert problems == ["it answered 503", None]
    said = [(record.levelname, bare(record)) for record in caplog.records]
    assert said == [("WARNING", "jwks address is failing"), ("INFO", "jwks address answers again")]


async def test_a_token_is_accepted_with_a_key_from_the_address(host: StubMainHost) -> None:
    publish(host, OLD, NEW)
    config = JWTConfig(jwks_url=host.url, algorithms=("ES256",))
    authenticator = JWTAuthenticator(config)
    identity = await authenticator.identify(sign(NEW, "ES256", kid="new"))
    assert identity.user_id == "alice"
    with pytest.raises(InvalidToken):
        await authenticator.identify(sign(NEW, "ES256", kid="old"))
    with pytest.raises(AuthUnavailable):
        await authenticator.identify(sign(NEW, "ES256", kid="other"))
    assert (authenticator.stats.jwt_accepted, authenticator.stats.jwt_refused) == (1, 1)
    await authenticator.close()


def test_shared_secrets_and_published_keys_do_not_go_together() -> None:
    with pytest.raises(ConfigError):
        JWTAuthenticator(JWTConfig(jwks_url="https://issuer.example/jwks", algorithms=("HS256",)))


async def test_another_authenticator_for_the_same_address_has_its_keys(
    host: StubMainHost,
) -> None:
    """It may be out of reach just then."""
    publish(host, OLD)
    token = sign(OLD, "ES256")
    first, second, other = (
        JWTAuthenticator(JWTConfig(jwks_url=host.url + path, algorithms=("ES256",), leeway=leeway))
        for path, leeway in (("/jwks.json", 1.0), ("/jwks.json", 2.0), ("/other.json", 2.0))
    )
    await first.identify(token)
    await host.stop()
    second.inherit(first)
    await first.close()
    assert (await second.identify(token)).user_id == "alice"
    other.inherit(second)
    with pytest.raises(AuthUnavailable):
        await other.identify(token)
    await second.close()
    await other.close()
