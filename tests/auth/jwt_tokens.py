"""Keys and tokens for the tests of JWTs, honest and forged."""

import base64
import hashlib
import hmac
import json
import time
import warnings
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from aionotify.config import JWTConfig

SECRET = "a-shared-secret-of-at-least-64-bytes-" + "0123456789" * 4

Claims = dict[str, Any]


@cache
def rsa(name: str = "rsa") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


@cache
def ec(curve: str = "P-256", name: str = "ec") -> ECKey:
    return ECKey.generate_key(curve, {"kid": name})


@cache
def ed(name: str = "ed") -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": name})


def public_pem(key: Key) -> str:
    return key.as_pem(private=False).decode()  # type: ignore[union-attr]


def claims(**changes: object) -> Claims:
    """Claims that are good for an hour; None leaves one out."""
    now = int(time.time())
    every = {"sub": "alice", "iat": now, "exp": now + 3600} | changes
    return {name: value for name, value in every.items() if value is not None}


def sign(key: Key, algorithm: str, what: Claims | None = None, **header: Any) -> str:
    """Make a token as an honest issuer would, whatever its header says."""
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    header = {"alg": algorithm, **header}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # issuers go on saying EdDSA
        return jwt.encode(header, claims() if what is None else what, key, registry=registry)


def b64(data: bytes | object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: object, what: object, secret: bytes | None = None) -> str:
    """Put a token together by hand, with an HMAC under `secret` or no signature at all."""
    signed = f"{b64(header)}.{b64(what)}"
    signature = b"" if secret is None else hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{b64(signature)}"


def static(key: str, *algorithms: str, **settings: Any) -> JWTConfig:
    return JWTConfig(key=key, algorithms=algorithms, **settings)
