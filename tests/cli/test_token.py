"""``aionotify token``: what it prints gets in, and what it cannot make is told."""

import json
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from tests.cli.helpers import Parse, Run
from tests.harness import NotifyServer, RedisServer, SSEClient, free_port

SECRET = "s" * 32
SHARED = {"auth.method": "jwt", "auth.jwt.key": SECRET, "auth.jwt.algorithms": "HS256"}


def flags(settings: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with keys: an RSA pair in PEM, another pair, and a JWK with a name."""
    directory = tmp_path_factory.mktemp("keys")
    ours, other = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
    (directory / "private.pem").write_bytes(ours.as_pem(private=True))
    (directory / "public.pem").write_bytes(ours.as_pem(private=False))
    (directory / "other.pem").write_bytes(other.as_pem(private=True))
    named = ECKey.generate_key("P-256", {"kid": "k1"})
    (directory / "named.jwk").write_text(json.dumps(named.as_dict(private=True)))
    verifies = ours.as_dict(private=True, key_ops=["verify"])
    (directory / "verifies.jwk").write_text(json.dumps(verifies))
    return directory


def public(keys: Path) -> dict[str, str]:
    key = str(keys / "public.pem")
    return {"auth.method": "jwt", "auth.jwt.key_file": key, "auth.jwt.algorithms": "RS256"}


async def test_a_token_opens_a_stream(aionotify: Run, redis_server: RedisServer) -> None:
    """A server with the same configuration takes it, and its stream is that user's."""
    settings = SHARED | {"auth.jwt.issuer": "https://login.example.com", "auth.jwt.audience": "us"}
    done = aionotify("token", "alice", *flags(settings))
    assert (done.returncode, done.stderr) == (0, "")
    async with (
        NotifyServer(settings | {"redis.url": redis_server.url}) as server,
        SSEClient(f"{server.url}/notify", token=done.stdout.strip()) as client,
    ):
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": "alice", "n": 1}')
        await client.wait_for(lambda events: any('"n": 1' in each.data for each in events))


def test_a_token_says_what_the_configuration_requires(aionotify: Run) -> None:
    """Its claims are the user in the configured claim, issuer, audience, and the lifetime."""
    settings = SHARED | {"auth.jwt.issuer": "me", "auth.jwt.user_claim": "uid"}
    done = aionotify("token", "42", "--expires-in", "60", *flags(settings))
    claims = jwt.decode(done.stdout.strip(), OctKey.import_key(SECRET)).claims
    assert claims == {"uid": "42", "iss": "me", "iat": claims["iat"], "exp": claims["iat"] + 60}


def test_a_private_key_of_a_public_one_signs(aionotify: Run, keys: Path) -> None:
    """With only the public key in auth.jwt, the private one is given."""
    words = ("token", "alice", *flags(public(keys)))
    done = aionotify(*words, "--key-file", str(keys / "private.pem"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(".") == 2


def test_a_key_s_name_is_in_the_token(aionotify: Run, keys: Path) -> None:
    """A JWK with a kid makes tokens that name it; a key set that is away refuses nothing."""
    settings = {
        "auth.method": "jwt",
        "auth.jwt.jwks_url": f"http://127.0.0.1:{free_port()}/jwks",
        "auth.jwt.algorithms": "RS256,ES256",
    }
    done = aionotify("token", "alice", "--key-file", str(keys / "named.jwk"), *flags(settings))
    assert done.returncode == 0
    key = ECKey.import_key(json.loads((keys / "named.jwk").read_text()))
    assert jwt.decode(done.stdout.strip(), key).header == {
        "alg": "ES256",
        "kid": "k1",
        "typ": "JWT",
    }
    [warning] = done.stderr.splitlines()
    assert "whether a node takes it is unknown: the signing keys cannot be fetched" in warning


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "auth.method: expected jwt, got main_host"),
        (["public"], 2, "auth.jwt.key_file: is a public key, which only verifies; give the"),
        (["public", "--key-file", "public.pem"], 2, "--key-file: expected a private key"),
        (["public", "--key-file", "named.jwk"], 2, "--key-file: expected a key for RS256"),
        (["public", "--key-file", "other.pem"], 2, "--key-file: its tokens are refused"),
        (["public", "--key-file", "none"], 2, "--key-file: cannot be read: No such file"),
        (["public", "--key-file", "verifies.jwk"], 2, "--key-file: cannot sign"),
        (["jwks"], 2, "auth.jwt.jwks_url: has public keys, which only verify; give the"),
        (["shared", "--expires-in", "0"], 2, "expected a whole number of seconds from 1 to"),
        (["shared", "--expires-in", "1h"], 2, "expected a whole number of seconds from 1 to"),
        (["shared", "--expires-in", "9" * 5000], 2, "expected a whole number of seconds from"),
        (["short"], 2, "auth.jwt.key: expected a secret of at least 32 bytes"),
        (["shared", "--redis.url", "redis://x"], 2, "token does not use --redis.url"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_told(
    parsed: Parse, keys: Path, words: list[str], code: int, said: str
) -> None:
    """In a line that names the setting or the flag, without the key."""
    jwks = public(keys) | {"auth.jwt.jwks_url": f"http://127.0.0.1:{free_port()}/jwks"}
    del jwks["auth.jwt.key_file"]
    settings = {
        "public": public(keys),
        "jwks": jwks,
        "shared": SHARED,
        "short": SHARED | {"auth.jwt.key": "short"},
    }
    given = flags(settings[words[0]]) if words else []
    rest = [str(keys / word) if word.endswith((".pem", ".jwk")) else word for word in words[1:]]
    done = parsed("token", "alice", *given, *rest)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]
    assert SECRET not in done.stderr


@pytest.mark.parametrize("user", ["", "*", "a\tb", "x" * 257])
def test_a_user_who_cannot_be_is_refused(parsed: Parse, user: str) -> None:
    """What names nobody, or everybody, makes no token."""
    done = parsed("token", user, *flags(SHARED))
    assert (done.returncode, done.stdout) == (2, "")
    assert "argument USER: the user id" in done.stderr
