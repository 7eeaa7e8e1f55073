"""``aionotify token``: a JWT to try a server with, as the tokens' issuer makes them."""

import argparse
import asyncio
import logging
import sys
import time
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key

from aionotify.auth.identity import user_id_from
from aionotify.auth.jwt.authenticator import JWTAuthenticator, Registry
from aionotify.auth.jwt.keys import KeyRing, read_key, setting_of
from aionotify.config import Config, JWTConfig
from aionotify.errors import AuthError, AuthFailed, ConfigError, InvalidToken

_LIFETIME: Final = 3600  # seconds; long enough to try things, and short for a token that gets lost
_LONGEST: Final = 366 * 86400  # seconds
_PRIVATE: Final = "give the issuer's private key with --key-file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the user, the lifetime and the key."""
    parser.add_argument("user", metavar="USER", type=_user, help="the id of the user")
    parser.add_argument(
        "--expires-in",
        metavar="SECONDS",
        type=_seconds,
        default=_LIFETIME,
        help=f"seconds for which the token is valid (default {_LIFETIME})",
    )
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help="file with the private key, where auth.jwt has only the public one",
    )


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the token, which a node with this configuration takes.

    Raises:
        ConfigError: nothing can be signed so that a node would take it.
    """
    if config.auth.method != "jwt":
        problem = "expected jwt, got main_host: its tokens are made by your application"
        raise ConfigError({"auth.method": problem})
    name = setting_of(config.auth.jwt) if args.key_file is None else "--key-file"
    token = signed(config.auth.jwt, args.user, args.expires_in, args.key_file)
    logging.getLogger("aionotify").setLevel(logging.CRITICAL)  # what is wrong is said here
    try:
        asyncio.run(_identify(token, config.auth.jwt))
    except InvalidToken:
        problem = "its tokens are refused with the keys that auth.jwt has for them"
        raise ConfigError({name: problem}) from None
    except AuthError as error:
        print(f"aionotify: whether a node takes it is unknown: {error}", file=sys.stderr)
    print(token)
    return 0


def signed(config: JWTConfig, user: str, lifetime: int, key_file: str | None = None) -> str:
    """Return a token with the claims that `config` requires (RFC 7519 section 4.1).

    Args:
        lifetime: in seconds.
        key_file: a file with the private key; without it, the key of `config` has to be one.

    Raises:
        ConfigError: there is no key that signs.
    """
    if key_file is None and config.jwks_url is not None:
        raise ConfigError({"auth.jwt.jwks_url": f"has public keys, which only verify; {_PRIVATE}"})
    given = config if key_file is None else JWTConfig(key_file=key_file)
    path = setting_of(config) if key_file is None else "--key-file"
    key = read_key(given, path)
    algorithm = _algorithm(key, config, path)
    now = int(time.time())
    claims: dict[str, Any] = {config.user_claim: user, "iat": now, "exp": now + lifetime}
    claims |= {"iss": config.issuer} if config.issuer is not None else {}
    claims |= {"aud": config.audience} if config.audience is not None else {}
    header = {"alg": algorithm} | ({"kid": key.kid} if key.kid is not None else {})
    try:
        registry = Registry(algorithms=[algorithm], strict_check_header=False)
        return jwt.encode(header, claims, key, registry=registry)
    except (JoseError, ValueError):
        raise ConfigError({path: "cannot sign: the key is not meant to"}) from None


def _algorithm(key: Key, config: JWTConfig, path: str) -> str:
    if not key.is_private:
        problem = f"is a public key, which only verifies; {_PRIVATE}"
        raise ConfigError({path: problem if path != "--key-file" else "expected a private key"})
    ring = KeyRing([key], config.algorithms)
    for name in config.algorithms:
        if ring.get(name, None) is not None:
            return name
    expected = ", ".join(config.algorithms)
    raise ConfigError({path: f"expected a key for {expected}, got one of another kind"})


async def _identify(token: str, config: JWTConfig) -> None:
    authenticator = JWTAuthenticator(config)
    try:
        await authenticator.identify(token)
    finally:
        await authenticator.close()


def _user(text: str) -> str:
    try:
        return user_id_from(text)
    except AuthFailed as error:
        raise argparse.ArgumentTypeError(error.message) from None


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= _LONGEST:
        expected = f"expected a whole number of seconds from 1 to {_LONGEST}"
        raise argparse.ArgumentTypeError(f"{expected}, got {text[:80]!r}")
    return int(text)
