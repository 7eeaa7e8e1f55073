"""JSON Web Tokens (RFC 7519) that prove by their signature who they belong to.

Signatures and claims are joserfc's work; here is what we ask of them (RFC 8725).
"""

import binascii
import logging
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry

from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.identity import MAX_GROUPS, Identity, groups_from
from aionotify.auth.jwt.jwks import Jwks
from aionotify.auth.jwt.keys import KeySource, StaticKey
from aionotify.auth.stats import AuthStats
from aionotify.config import JWTConfig
from aionotify.errors import AuthFailed, ConfigError, InvalidToken

_log = logging.getLogger(__name__)

_LAST_MOMENT = 1e11  # unix seconds; an integer may be too large to be added to


class _Header(msgspec.Struct):
    """The members of a JOSE header that we act on.

    ``jwk``, ``jku``, ``x5c`` and ``x5u`` are not among them: a token does not choose its own key.
    """

    alg: str
    kid: str | None = None
    crit: object = None


class Registry(JWSRegistry):
    """The algorithms that the configuration allows, without joserfc's opinion of each."""

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError("not allowed")
        return self.algorithms[name]  # its own version warns at every token that says EdDSA


class JWTAuthenticator(BearerAuthenticator):
    """Checks signature, algorithm and times, and ``aud`` and ``iss`` when they are configured.

    A token without ``exp`` is refused, for it would be good for ever, and so is one with more than
    `max_groups` groups. Clocks may differ by
    `leeway`, so an identity ends that much after ``exp``. `clock` is in unix seconds.
    """

    def __init__(
        self,
        config: JWTConfig,
        *,
        cookie: str | None = None,
        origins: Collection[str] = (),
        stats: AuthStats | None = None,
        max_groups: int = MAX_GROUPS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raise ConfigError when `config` has no usable key or algorithms."""
        super().__init__(cookie=cookie, origins=origins)
        self.stats = stats if stats is not None else AuthStats()
        self._config = config
        self._max_groups = max_groups
        self._keys = _key_source(config, self.stats)
        # Members that we do not know are no reason to refuse (RFC 7515 section 4), unless ``crit``
        # names them, and then `_header` does.
        self._registry = Registry(algorithms=config.algorithms, strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(clock()), leeway=int(config.leeway), **_requirements(config)
        )

    @property
    def problem(self) -> str | None:
        """See `BearerAuthenticator.problem`."""
        return self._keys.problem

    async def close(self) -> None:
        """End a fetch of keys that is under way."""
        await self._keys.close()

    def inherit(self, other: BearerAuthenticator) -> None:
        """Have the keys that `other` has fetched from the same address: it may be out of reach."""
        if isinstance(other, JWTAuthenticator) and self._fetches_like(other):
            self._keys, other._keys = other._keys, self._keys  # each closes those that it has

    def _fetches_like(self, other: "JWTAuthenticator") -> bool:
        ours, theirs = self._config, other._config
        return (
            ours.jwks_url is not None
            and ours.jwks_url == theirs.jwks_url
            and ours.algorithms == theirs.algorithms
        )

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        """Return the owner of `token`.

        Raises InvalidToken; AuthUnavailable when the keys have to be fetched and cannot be.
        """
        try:
            header = _header(token)
            if header.alg not in self._config.algorithms:
                raise InvalidToken("the token's algorithm is not accepted")
            key = await self._keys.find(header.alg, header.kid)
            if key is None:
                raise InvalidToken("the token's key is not known")
            identity = self._verify(token, key)
        except InvalidToken:
            self.stats.jwt_refused += 1
            raise
        self.stats.jwt_accepted += 1
        return identity

    def _verify(self, token: str, key: Key) -> Identity:
        try:
            claims = jwt.decode(token, key, registry=self._registry).claims
            self._claims.validate(claims)
            expires_at = min(claims["exp"], _LAST_MOMENT) + self._claims.leeway
            user_id = claims[self._config.user_claim]
            return Identity(user_id, groups=self._groups(claims), expires_at=expires_at)
        except ExpiredTokenError:
            raise InvalidToken("the token has expired") from None
        except AuthFailed as error:
            raise InvalidToken(error.message) from None
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # Which check failed helps whoever runs this, and whoever forges tokens.
            _log.debug("token refused", extra={"fields": {"reason": type(error).__name__}})
            raise InvalidToken("the token is not valid") from None

    def _groups(self, claims: Mapping[str, Any]) -> frozenset[str]:
        name = self._config.groups_claim
        given = claims.get(name) if name is not None else None
        return frozenset() if given is None else groups_from(given, self._max_groups)


def _header(token: str) -> _Header:
    """Return the header of `token` before anything in it has been verified.

    Read here with types of our own, because what it says decides which key is used.
    """
    encoded, *rest = token.split(".")
    if len(rest) != 2:
        raise InvalidToken("the token is not a signed JWT")
    try:
        raw = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        header = msgspec.json.decode(raw, type=_Header)
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidToken("the token is not a signed JWT") from None
    if header.crit is not None:
        raise InvalidToken("the token asks for extensions that are not known")
    return header


def _key_source(config: JWTConfig, stats: AuthStats) -> KeySource:
    names = config.algorithms
    if not names or "none" in names:
        raise ConfigError({"auth.jwt.algorithms": "expected algorithms that sign"})
    if config.jwks_url is not None:
        if any(name.startswith("HS") for name in names):
            raise ConfigError({"auth.jwt.algorithms": "expected public-key ones with jwks_url"})
        return Jwks(config.jwks_url, config.algorithms, stats=stats)
    return StaticKey(config)


def _requirements(config: JWTConfig) -> dict[str, Any]:
    required: dict[str, Any] = {"exp": {"essential": True}, config.user_claim: {"essential": True}}
    if config.audience is not None:
        required["aud"] = {"essential": True, "value": config.audience}
    if config.issuer is not None:
        required["iss"] = {"essential": True, "value": config.issuer}
    return required
