"""Every setting: its default, its limits, what it does.

Durations are in seconds. This module knows neither the sources of settings nor who uses them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from marshmallow import ValidationError

from aionotify.config.fields import (
    Choice,
    Field,
    HttpURL,
    Integer,
    ListOf,
    Network,
    Number,
    Origin,
    Path,
    RedisURL,
    SecretText,
    Switch,
    Text,
    WebhookSecret,
    without_newline,
)
from aionotify.config.redis_url import parse
from aionotify.config.schema import setting

_MIB = 1 << 20
_DAY = 86400
_HOST = Text(
    "a host name, an IP address or unix:/path", r"unix:/.{1,100}|(?!unix:)[A-Za-z0-9._:%-]{1,255}"
)
_AWAY_TYPE = r".{1,128}=[0-9]{1,7}(\.[0-9]{1,3})?( written| read)?"
RIGHTS = ("publish", "presence", "revoke", "read", "groups", "admin")
"""What a publish key may allow."""
_ALGORITHMS = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


@dataclass(frozen=True, slots=True)
class PublishKey:
    """A publish key: what it allows, for recipients that begin with `prefix`."""

    key: str = field(repr=False)
    prefix: str = ""
    rights: frozenset[str] = frozenset({"publish", "presence", "revoke"})


class _Right(Choice):
    quoted = False  # it may be the key, by mistake

    def __init__(self) -> None:
        super().__init__(*RIGHTS)


class _PublishKeyField(Field):
    quoted = False
    secret = True
    # It is sent as a bearer token: the characters of RFC 6750 section 2.1.
    pattern = re.compile(r"[A-Za-z0-9\-._~+/]{16,256}=*")
    rights = ListOf(_Right())

    def __init__(self) -> None:
        super().__init__(
            "a key of 16 to 256 characters (letters, digits, - . _ ~ + /),"
            " alone or as {key: ..., recipients: prefix, rights: [...]}"
        )

    def _checked(self, value: Any) -> PublishKey:
        if not isinstance(value, Mapping):
            value = {"key": value}
        key, prefix = without_newline(value.get("key")), value.get("recipients", "")
        if (
            not value.keys() <= {"key", "recipients", "rights"}
            or not self.pattern.fullmatch(key)
            or not isinstance(prefix, str)
            or not prefix.isprintable()
            or len(prefix) > 256
        ):
            raise ValueError
        if "rights" not in value:
            return PublishKey(key, prefix)
        return PublishKey(key, prefix, self._checked_rights(value["rights"]))

    def _checked_rights(self, value: Any) -> frozenset[str]:
        try:
            rights = self.rights.deserialize(value)
        except ValidationError as error:
            raise ValidationError({"rights": error.messages}) from None
        if not rights:
            raise ValidationError({"rights": ["expected at least one, got none"]})
        if len(set(rights)) < len(rights):
            raise ValidationError({"rights": ["the same right appears twice"]})
        return frozenset(rights)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The public address and its limits."""

    host: str = setting(
        _HOST, "127.0.0.1", "Address to listen on; unix:/path for a Unix socket", fixed=True
    )
    port: int = setting(
        Integer(0, 65535), 8001, "Port to listen on; 0 takes any free one", fixed=True
    )
    workers: int = setting(Integer(1, 256), 1, "Processes that share the port", fixed=True)
    max_streams: int = setting(
        Integer(0, 10_000_000), 0, "Open streams per process; 0 is what open files allow"
    )
    max_streams_per_user: int = setting(
        Integer(0, 1_000_000), 20, "Open streams per user and process; 0 is no limit"
    )
    max_streams_per_address: int = setting(
        Integer(0, 1_000_000), 0, "Open streams per client address and process; 0 is no limit"
    )
    handshake_rate: float = setting(
        Number(0, 1_000_000, "streams"),
        0.0,
        "New streams per second and process; 0 is no limit",
    )
    trusted_proxies: tuple[str, ...] = setting(
        ListOf(Network()), (), "Networks whose X-Forwarded-For is trusted"
    )
    drain: float = setting(
        Number(0, 3600), 10.0, "Seconds over which a node that stops ends its streams"
    )
    drain_delay: float = setting(
        Number(0, 3600),
        0.0,
        "Seconds of the drain in which the node takes streams, but is not ready",
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.drain_delay > self.drain:
            yield (
                "drain_delay",
                f"expected no more than server.drain, {self.drain:g}, got {self.drain_delay:g}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """Publishing over HTTP, and a separate address for it."""

    host: str = setting(
        _HOST,
        "127.0.0.1",
        "Address of /publish, /presence, /streams, /groups, /admin and /metrics",
        fixed=True,
    )
    port: int | None = setting(
        Integer(0, 65535, nullable=True),
        None,
        "Its port; null puts them on the server's own",
        fixed=True,
    )
    publish_keys: tuple[PublishKey, ...] = setting(
        ListOf(_PublishKeyField()),
        (),
        "Keys of applications and operators; with none, nobody may publish",
    )
    max_publish_bytes: int = setting(
        Integer(_MIB, 1 << 40, "bytes"),
        64 * _MIB,
        "Bytes of publish requests per process at the same time; beyond, they get 503",
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if len({item.key for item in self.publish_keys}) < len(self.publish_keys):
            yield "publish_keys", "the same key appears twice"


@dataclass(frozen=True, slots=True, kw_only=True)
class MainHostConfig:
    """The application that identifies the user of a token."""

    url: str = setting(HttpURL(), "http://127.0.0.1:8000", "Address of the main host")
    path: str = setting(
        Text("a path that begins with /", r"/[^\s?#]{0,1024}"),
        "/api/v1/is_user_auth/",
        "Path that is asked about a token",
    )
    timeout: float = setting(Number(0.05, 60), 3.0, "Seconds to wait for its answer")
    cache_ttl: float = setting(
        Number(0, _DAY), 30.0, "Seconds for which an accepted token is cached"
    )
    refusal_ttl: float = setting(Number(0, 3600), 5.0, "Seconds for which a refusal is cached")
    stale_if_error: float = setting(
        Number(0, 7 * _DAY), 300.0, "Seconds for which a known token works while it fails"
    )
    max_concurrency: int = setting(Integer(1, 10_000), 100, "Concurrent requests to it")


@dataclass(frozen=True, slots=True, kw_only=True)
class JWTConfig:
    """Signed tokens."""

    key: str | None = setting(
        SecretText("a key in PEM or JWK form, or a shared secret", nullable=True),
        None,
        "Key that verifies signatures",
    )
    key_file: str | None = setting(
        Path("the path of a file with a key", nullable=True), None, "File with that key"
    )
    jwks_url: str | None = setting(
        HttpURL(nullable=True), None, "Address of a JSON Web Key Set with such keys"
    )
    algorithms: tuple[str, ...] = setting(
        ListOf(Choice(*_ALGORITHMS)), (), "Accepted signature algorithms"
    )
    audience: str | None = setting(
        Text("text of 1 to 256 characters", nullable=True), None, "Required aud claim"
    )
    issuer: str | None = setting(
        Text("text of 1 to 256 characters", nullable=True), None, "Required iss claim"
    )
    user_claim: str = setting(Text("the name of a claim"), "sub", "Claim that holds the user id")
    groups_claim: str | None = setting(
        Text("the name of a claim", nullable=True), None, "Claim that lists the user's groups"
    )
    leeway: float = setting(Number(0, 300), 10.0, "Seconds by which clocks may differ")

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        shared = [name for name in self.algorithms if name.startswith("HS")]
        if not shared:
            return
        if len(shared) < len(self.algorithms):
            # or a public key could be used as if it were the shared secret (RFC 8725 section 2.1)
            yield "algorithms", "expected either shared-secret (HS) or public-key ones, got both"
        elif self.jwks_url is not None:
            yield (
                "algorithms",
                "expected public-key ones with jwks_url, got shared-secret (HS) ones",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """How to identify the user of a request."""

    method: str = setting(
        Choice("main_host", "jwt"), "main_host", "How to identify the user of a token"
    )
    cookie: str | None = setting(
        Text("the name of a cookie", r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", nullable=True),
        None,
        "Cookie that may carry the token",
    )
    ticket_ttl: int = setting(
        Integer(1, 3600, "seconds"), 30, "Seconds for which a ticket is valid"
    )
    revalidate: float = setting(
        Number(1, _DAY), 300.0, "Seconds after which a stream's token is revalidated"
    )
    main_host: MainHostConfig = field(default_factory=MainHostConfig)
    jwt: JWTConfig = field(default_factory=JWTConfig)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.method != "jwt":
            return
        given = [n for n in ("key", "key_file", "jwks_url") if getattr(self.jwt, n) is not None]
        if len(given) != 1:
            text = " and ".join(given) or "none"
            yield "jwt", f"expected exactly one of key, key_file and jwks_url, got {text}"
        if not self.jwt.algorithms:
            yield "jwt.algorithms", "expected at least one with auth.method jwt, got none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Where events come from and where they are stored.

    Attributes:
        database: the number of the database in `url`.
    """

    url: str = setting(
        RedisURL(),
        "redis://127.0.0.1:6379/0",
        "Address of Redis; embedded:// starts a private server",
        fixed=True,
    )
    channel: str | None = setting(
        Text("text of 1 to 256 characters", nullable=True),
        None,
        "Channel on which any producer may PUBLISH; null: push_notifications",
        fixed=True,
    )
    prefix: str = setting(
        Text("1 to 64 letters, digits, - . or _", r"[A-Za-z0-9._-]{1,64}"),
        "aionotify",
        "Prefix of the names of keys and channels",
        fixed=True,
    )
    data_dir: str | None = setting(
        Path("the path of a directory", nullable=True),
        None,
        "Where embedded:// keeps data; null: a temporary directory",
        fixed=True,
    )
    wait_replicas: int = setting(
        Integer(0, 100),
        0,
        "Replicas that must have a durable event before it counts as published",
        fixed=True,
    )

    @property
    def database(self) -> int:
        return parse(self.url).db

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.wait_replicas and self.url.startswith("embedded:"):
            yield "wait_replicas", "expected 0: embedded:// has no replicas"
        if self.channel and re.match(rf"{re.escape(self.prefix)}(@[0-9]+)?:", self.channel):
            # Nodes would take an event that is published there for one of their own messages.
            yield (
                "channel",
                f"expected one that does not begin with {self.prefix}: as our own channels do",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsConfig:
    """Limits of an event."""

    max_bytes: int = setting(Integer(256, 16 * _MIB, "bytes"), 64000, "Largest size of an event")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxConfig:
    """The recent durable events of a recipient."""

    max_events: int = setting(Integer(1, 100_000), 100, "Events kept per recipient")
    retention: int = setting(
        Integer(1, 366 * _DAY, "seconds"), 604800, "Seconds for which an event is kept"
    )
    idempotency: int = setting(
        Integer(1, _DAY, "seconds"), 300, "Seconds within which the same id is delivered once"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishConfig:
    """Publishing from other languages."""

    stream: bool = setting(
        Switch(),
        False,
        "Whether nodes take events that are added to the Redis stream {prefix}:publish",
        fixed=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwayConfig:
    """Events for users who are away."""

    stream: str | None = setting(
        Text("the name of a Redis stream", r"[^\s]{1,256}", nullable=True),
        None,
        "Redis stream to which they are handed on",
        fixed=True,
    )
    max_entries: int = setting(
        Integer(1, 100_000_000), 100_000, "About how many entries it keeps", fixed=True
    )
    webhook: str | None = setting(
        HttpURL(nullable=True), None, "Address to which they are posted instead", fixed=True
    )
    types: tuple[str, ...] = setting(
        ListOf(Text("<event type>=<seconds>, or <event type>=<seconds> read", _AWAY_TYPE)),
        (),
        "Event types that wait for users who are away, and for how long",
        fixed=True,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.stream is not None and self.webhook is not None:
            # Or what one takes and the other does not would be handed on to the first again.
            yield "webhook", "expected null with away.stream: it is one or the other"
        if self.types and not self.is_on:
            yield "types", "expected away.stream or away.webhook, to which events are handed on"

    @property
    def is_on(self) -> bool:
        """Whether events are handed on at all."""
        return self.stream is not None or self.webhook is not None

    @property
    def rules(self) -> dict[str, tuple[float, str]]:
        """Of each of the types, its seconds and until what happens it waits."""
        rules = {}
        for text in self.types:
            type, _, rest = text.rpartition("=")
            seconds, _, until = rest.partition(" ")
            rules[type] = float(seconds), until or "written"
        return rules


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceConfig:
    """Who comes online and who goes offline."""

    events: bool = setting(
        Switch(),
        False,
        "Whether nodes tell who comes and goes, in the Redis stream {prefix}:presence{0}:events",
        fixed=True,
    )
    # Longer than a phone takes to change networks, or a client to come back after a deploy.
    grace: float = setting(
        Number(0, 3600), 30.0, "Seconds without a stream after which a user has gone", fixed=True
    )
    max_events: int = setting(
        Integer(1, 10_000_000), 10000, "Entries kept in that stream", fixed=True
    )
    webhook: str | None = setting(
        HttpURL(nullable=True), None, "Address to which one node posts them, too", fixed=True
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield contradictions between these settings, by name."""
        if self.webhook is not None and not self.events:
            yield "webhook", "expected null while presence.events is off"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """How anything is posted to the application."""

    secret: str | None = setting(
        WebhookSecret(nullable=True), None, "Secret that signs what is posted", fixed=True
    )
    timeout: float = setting(Number(0.05, 60), 5.0, "Seconds to wait for an answer", fixed=True)
    allow_http: bool = setting(
        Switch(), False, "Whether an address may begin with http://", fixed=True
    )
    allow: tuple[str, ...] = setting(
        ListOf(Network()),
        (),
        "Networks that may be posted to though they are not public",
        fixed=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    """Groups of users."""

    memberships: bool = setting(
        Switch(),
        False,
        "Whether publishers may put users in groups, with PUT /groups/{group}/members/{user_id}",
        fixed=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """An open stream."""

    # Proxies close an idle connection after 30 to 100 seconds.
    heartbeat: float = setting(Number(0.1, 90), 15.0, "Seconds between heartbeats")
    send_timeout: float = setting(
        Number(0.1, 600), 30.0, "Seconds after which a client that takes nothing is disconnected"
    )
    retry: int = setting(
        Integer(100, 3_600_000, "milliseconds"), 3000, "Milliseconds before a client reconnects"
    )
    buffer: int = setting(
        Integer(4096, 16 * _MIB, "bytes"), 65536, "Bytes buffered for a client in this process"
    )
    hand_over: bool = setting(
        Switch(), True, "Whether streams take their connections over from aiohttp"
    )
    max_groups: int = setting(
        Integer(1, 1000), 100, "Groups of one user; whoever names more lets nobody in"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsConfig:
    """Access from pages of other origins."""

    origins: tuple[str, ...] = setting(ListOf(Origin()), (), "Origins whose pages may open streams")
    headers: tuple[str, ...] = setting(
        ListOf(Text("the name of a header", r"[A-Za-z0-9!#$%&'+.^_`|~-]{1,128}")),
        (),
        "Further request headers that their pages may send",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Logging, on standard error."""

    level: str = setting(
        Choice("debug", "info", "warning", "error"), "info", "Lowest level that is logged"
    )
    format: str = setting(Choice("text", "json"), "text", "Format of a line")
