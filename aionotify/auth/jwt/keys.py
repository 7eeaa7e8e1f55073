"""The keys that JWT signatures are checked with, and which of them may check which algorithm.

Knows keys; where they come from over the network is `jwks`'.
"""

import warnings
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import JWKRegistry, Key, OctKey
from joserfc.jws import JWSRegistry

from aionotify.config import JWTConfig
from aionotify.errors import ConfigError

_PUBLIC_KEY_TYPES = ("RSA", "EC", "OKP")
_ENCRYPTS = ("X25519", "X448")  # keys of type OKP that sign nothing (RFC 8037 section 3.2)


class KeySource(Protocol):
    """Where the key for a token is looked up.

    Attributes:
        problem: why there are no new keys to be had; None if that is not so.
    """

    @property
    def problem(self) -> str | None: ...

    async def find(self, algorithm: str, kid: str | None) -> Key | None:
        """Return the key for a token with these header members; None when there is none."""
        ...

    async def close(self) -> None:
        """End what is under way."""
        ...


class KeyRing:
    """Some keys, sorted by the algorithms that each is fit for.

    A key is fit for an algorithm if it is of its type (and curve), and neither its ``use`` nor
    its ``alg`` says otherwise. So a public key can never serve as an HMAC secret, whatever a
    token's header asks for (RFC 8725 section 2.1).
    """

    def __init__(self, keys: Iterable[Key], algorithms: Collection[str]) -> None:
        fit: dict[str, list[Key]] = {name: [] for name in algorithms}
        for key in keys:
            if key.get("crv") in _ENCRYPTS:
                continue
            for model in JWSRegistry.filter_algorithms(key, list(algorithms)):
                fit[model.name].append(key)
        self._fit = fit

    def __bool__(self) -> bool:
        return any(self._fit.values())

    def names(self) -> set[str]:
        """Return what its keys are called."""
        return {key.kid for keys in self._fit.values() for key in keys if key.kid is not None}

    def get(self, algorithm: str, kid: str | None) -> Key | None:
        """Return the key named `kid`; without a name, the only one that is fit."""
        keys = self._fit.get(algorithm, [])
        if kid is None:
            return keys[0] if len(keys) == 1 else None
        return next((key for key in keys if key.kid == kid), None)


class StaticKey:
    """One key from the configuration. It need not carry the name that tokens call it by."""

    problem: Final = None

    def __init__(self, config: JWTConfig) -> None:
        """Read the key; raise ConfigError if it is not one, or not fit for the algorithms."""
        path = setting_of(config)
        key = read_key(config, path)
        self._ring = KeyRing([key], config.algorithms)
        if not self._ring:
            names = ", ".join(config.algorithms)
            raise ConfigError({path: f"expected a key for {names}, got one of another kind"})
        _check_strength(key, config.algorithms, path)

    async def find(self, algorithm: str, kid: str | None) -> Key | None:
        """See `KeySource`. The name in the token does not matter, there is but one key."""
        return self._ring.get(algorithm, None)

    async def close(self) -> None:
        """See `KeySource`."""


def public_keys(key_set: object) -> list[Key]:
    """Return the keys of a JSON Web Key Set (RFC 7517 section 5) that can check signatures.

    What is not understood is left out, as that section asks; so are symmetric keys, which have
    no place in a published set. Raises ValueError when it is not a key set at all.
    """
    members = key_set.get("keys") if isinstance(key_set, Mapping) else None
    if not isinstance(members, list):
        raise ValueError("not a JSON Web Key Set")
    keys = []
    for data in members:
        if isinstance(data, dict) and data.get("kty") in _PUBLIC_KEY_TYPES:
            try:
                keys.append(JWKRegistry.import_key(data))
            except Exception:  # noqa: BLE001, S112 - whatever is wrong with it, others may do
                continue
    return keys


def setting_of(config: JWTConfig) -> str:
    """Return the name of the setting that has the key."""
    return "auth.jwt.key" if config.key_file is None else "auth.jwt.key_file"


def with_key(config: JWTConfig, path: str = "auth.jwt.key_file") -> JWTConfig:
    """Return `config` with what `key_file` has in it now as `key`, unless it has that already.

    Raises ConfigError when the file, which `path` names, cannot be read.
    """
    if config.key_file is None or config.key is not None:
        return config
    try:
        text = Path(config.key_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError({path: f"cannot be read: {error.strerror}"}) from None
    except ValueError:
        raise ConfigError({path: "cannot be read: expected text in UTF-8"}) from None
    return replace(config, key=text)


def read_key(config: JWTConfig, path: str) -> Key:
    """Return the key in `key` or `key_file`; raise ConfigError, which names it `path`, if none."""
    try:
        return _import_key(with_key(config, path).key or "")
    except (JoseError, ValueError, TypeError, KeyError):
        # The library's own words may quote the key.
        raise ConfigError({path: "expected a key in PEM or JWK form, or a secret"}) from None


def _import_key(text: str) -> Key:
    if text.startswith("{"):
        data: Any = msgspec.json.decode(text)
        return JWKRegistry.import_key(data)
    if "-----BEGIN" not in text:
        with warnings.catch_warnings():  # `_check_strength` asks for more, and is no mere warning
            warnings.simplefilter("ignore", SecurityWarning)
            return OctKey.import_key(text)
    for key_type in _PUBLIC_KEY_TYPES:
        with suppress(JoseError):  # of another type
            return JWKRegistry.import_key(text, key_type)
    raise ValueError("a PEM key of an unknown type")


def _check_strength(key: Key, algorithms: Collection[str], path: str) -> None:
    if not isinstance(key, OctKey):
        return
    size = max(int(name[2:]) // 8 for name in algorithms if name.startswith("HS"))
    if len(key.raw_value) < size:
        # RFC 7518 section 3.2: who has one token can try out short secrets at leisure.
        raise ConfigError({path: f"expected a secret of at least {size} bytes"})
