"""The authenticator that the configuration asks for.

Knows which settings it is made of, so that it can be told whether another configuration asks for
another one.
"""

from dataclasses import dataclass, replace
from typing import Any

from aionotify.auth.answers import Answers
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.jwt.keys import with_key
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.auth.revocations import Revocations
from aionotify.auth.stats import AuthStats
from aionotify.config import Config, JWTConfig, MainHostConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that an authenticator is made of: two of the same recipe say the same.

    `origins` are the foreign ones whose pages may use the cookie, `max_groups` is how many groups a
    user may have.
    """

    section: MainHostConfig | JWTConfig
    cookie: str | None
    origins: tuple[str, ...]
    max_groups: int

    def make(
        self, stats: AuthStats, revocations: Revocations, answers: Answers
    ) -> BearerAuthenticator:
        """Return such an authenticator; raise ConfigError if there is no such key.

        For `revocations` and `answers` see `MainHostAuthenticator`.
        """
        shared: dict[str, Any] = {
            "cookie": self.cookie,
            "origins": self.origins,
            "max_groups": self.max_groups,
            "stats": stats,
        }
        if isinstance(self.section, JWTConfig):
            return JWTAuthenticator(self.section, **shared)
        return MainHostAuthenticator(
            self.section, revocations=revocations, answers=answers, **shared
        )


def recipe(config: Config) -> Recipe:
    """Return what `config` asks for; raise ConfigError if a file that it names cannot be read."""
    auth = with_files(config).auth
    section = auth.jwt if auth.method == "jwt" else auth.main_host
    origins = config.cors.origins if auth.cookie else ()
    return Recipe(section, auth.cookie, origins, config.stream.max_groups)


def with_files(config: Config) -> Config:
    """Return `config` with what is now in the files that it names, so that it stays the same.

    Raises ConfigError if one cannot be read.
    """
    if config.auth.method != "jwt":
        return config
    return replace(config, auth=replace(config.auth, jwt=with_key(config.auth.jwt)))
