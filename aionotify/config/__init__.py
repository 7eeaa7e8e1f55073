"""The configuration: the settings, and how they are loaded.

A `Config` from `load_config` or `Config.from_mapping` has been checked; one that code builds
directly has not. This module does not know who uses it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from marshmallow import ValidationError

from aionotify.config.schema import (
    Setting,
    flatten,
    schema_of,
    settings_of,
    suggestion,
    with_fixed_of,
)
from aionotify.config.sections import (
    AdminConfig,
    AuthConfig,
    AwayConfig,
    CorsConfig,
    EventsConfig,
    GroupsConfig,
    InboxConfig,
    JWTConfig,
    LogConfig,
    MainHostConfig,
    PresenceConfig,
    PublishConfig,
    PublishKey,
    RedisConfig,
    ServerConfig,
    StreamConfig,
    WebhookConfig,
)
from aionotify.config.sources import Sources, overlooked, variable
from aionotify.errors import ConfigError

__all__ = (
    "SETTINGS",
    "AdminConfig",
    "AuthConfig",
    "AwayConfig",
    "Config",
    "CorsConfig",
    "EventsConfig",
    "GroupsConfig",
    "InboxConfig",
    "JWTConfig",
    "LogConfig",
    "MainHostConfig",
    "PresenceConfig",
    "PublishConfig",
    "PublishKey",
    "RedisConfig",
    "ServerConfig",
    "Setting",
    "StreamConfig",
    "WebhookConfig",
    "load_config",
    "overlooked",
    "suggestion",
    "variable",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings. ``Config()`` has every default; change it with `dataclasses.replace`."""

    server: ServerConfig = field(default_factory=ServerConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    redis: RedisConfig = field(default_factory=RedisConfig)
    events: EventsConfig = field(default_factory=EventsConfig)
    inbox: InboxConfig = field(default_factory=InboxConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    away: AwayConfig = field(default_factory=AwayConfig)
    presence: PresenceConfig = field(default_factory=PresenceConfig)
    webhook: WebhookConfig = field(default_factory=WebhookConfig)
    stream: StreamConfig = field(default_factory=StreamConfig)
    groups: GroupsConfig = field(default_factory=GroupsConfig)
    cors: CorsConfig = field(default_factory=CorsConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any]) -> "Config":
        """Check `mapping`, sections within sections as in config.yaml, and return it as a Config.

        Raises ConfigError with all problems at once.
        """
        return _check(mapping)

    def changed(self, new: "Config") -> Iterator[Setting]:
        """Yield the settings that differ in `new`."""
        return (item for item in SETTINGS.values() if item.of(self) != item.of(new))

    def reloaded(self, new: "Config") -> "Config":
        """Return what is in force after a reload with `new`: fixed settings stay."""
        return with_fixed_of(self, new)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.server.workers > 1 and self.redis.url.startswith("embedded:"):
            yield "server.workers", "expected 1 with embedded://, which belongs to one process"
        posted_to = {"presence.webhook": self.presence.webhook, "away.webhook": self.away.webhook}
        for name, address in posted_to.items():
            if address is None:
                continue
            if self.webhook.secret is None:
                yield "webhook.secret", f"expected one with {name}, got null"
            if address.startswith("http:") and not self.webhook.allow_http:
                yield (
                    name,
                    "expected an https:// address, or webhook.allow_http: true",
                )


SETTINGS: Mapping[str, Setting] = MappingProxyType({s.path: s for s in settings_of(Config)})
"""Every setting by its dotted name, in the order of config.yaml."""

_SCHEMA = schema_of(Config)


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    overrides: Mapping[str, str] = MappingProxyType({}),
) -> Config:
    """Return the configuration out of a file, systemd credentials, `environ` and `overrides`.

    Later sources win over earlier ones. `path` is a YAML file, None for no file. `overrides` are
    texts by dotted name, as flags give them.

    Raises ConfigError with all problems at once.
    """
    sources = Sources(SETTINGS)
    if path is not None:
        sources.read_file(path)
    sources.read_credentials(environ)
    sources.read_environ(environ)
    sources.read_overrides(overrides)
    source = "configuration" if path is None else os.fspath(path)
    return _check(sources.values, source, sources.problems, sources.origin)


def _check(
    values: Mapping[str, Any],
    source: str = "configuration",
    found: Mapping[str, str] = MappingProxyType({}),
    origin: Callable[[str], str | None] = lambda path: None,
) -> Config:
    problems, config = dict(found), Config()
    try:
        config = cast("Config", _SCHEMA.load(values))
    except ValidationError as error:
        for path, text in flatten(error.messages, list(SETTINGS)):
            where = origin(path)
            problems.setdefault(path or "file", f"{text} ({where})" if where else text)
    if problems:
        raise ConfigError(dict(sorted(problems.items())), source)
    return config
