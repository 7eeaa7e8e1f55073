"""Parses `redis.url`. Text in, values out; it opens no connection.

::

    redis://[[user]:password@]host[:port][/db]
    rediss://                                        the same with TLS
    unix://[[user]:password@]/path/to/socket[?db=0]
    redis+sentinel://[[user]:password@]host[:port],…/service[/db]
    rediss+sentinel://                               the same with TLS, to sentinels and master
    embedded://                                      a private server of our own

User, password, path and the values of options are percent-encoded; a plus is a plus (RFC 3986).
After ``?`` come only the options in `OPTIONS`: redis-py would take any, and fail at the first
connection, or let them change how we talk to Redis.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote

_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_SENTINEL: Final = ("sentinel_username", "sentinel_password")

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": (),
    "rediss": _TLS,
    "unix": ("db",),
    "redis+sentinel": _SENTINEL,
    "rediss+sentinel": (*_SENTINEL, *_TLS),
    "embedded": (),
}

EXPECTED: Final = f"an address that begins with {', '.join(f'{name}://' for name in OPTIONS)}"

_HOST: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s,:\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis. With a `service`, `hosts` are the sentinels that watch it."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def tls(self) -> bool:
        """Whether connections to it are encrypted."""
        return self.scheme.startswith("rediss")

    @property
    def place(self) -> "Address":
        """Where it is, without how one gets in: neither user nor password nor options."""
        return replace(self, username=None, password=None, options={})

    def __str__(self) -> str:
        """Return the address for people and logs: without user, password and options."""
        if self.scheme == "embedded":
            return "embedded://"
        if self.scheme == "unix":
            return f"unix://{self.path}?db={self.db}"
        hosts = ",".join(
            f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name, port in self.hosts
        )
        return "/".join(filter(None, (f"{self.scheme}://{hosts}", self.service, str(self.db))))


def parse(url: str) -> Address:
    """Parse `url`.

    Raises ValueError, which says what was expected; it never quotes what may be a password.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "redis+cluster":
        raise ValueError("redis+cluster:// is not supported yet")
    if not separator or scheme not in OPTIONS:
        raise ValueError(f"expected {EXPECTED}")
    return _address(scheme, rest)


def _address(scheme: str, rest: str) -> Address:
    rest, _, query = rest.partition("?")
    options = _options(scheme, query)
    authority, _, path = rest.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    username, _, password = userinfo.partition(":")
    anonymous = Address(scheme, options=options)
    match scheme:
        case "embedded":
            if rest:
                raise ValueError("expected nothing after embedded://; redis.data_dir is a key")
            return anonymous
        case "unix":
            if hosts or not path.strip("/"):
                raise ValueError("expected the absolute path of a socket, unix:///path/to/socket")
            address = replace(anonymous, path="/" + unquote(path), db=_db(options.get("db", "")))
        case "redis+sentinel" | "rediss+sentinel":
            service, _, db = path.partition("/")
            if not service:
                raise ValueError("expected the service's name after the hosts of its sentinels")
            sentinels = tuple(_host(host, 26379) for host in hosts.split(","))
            address = replace(anonymous, hosts=sentinels, service=unquote(service), db=_db(db))
        case _:
            address = replace(anonymous, hosts=(_host(hosts, 6379),), db=_db(path))
    return replace(address, username=unquote(username) or None, password=unquote(password) or None)


def _options(scheme: str, query: str) -> dict[str, str]:
    known = OPTIONS[scheme]
    parts = (part.partition("=") for part in query.split("&") if part)
    options = {name: unquote(value) for name, _, value in parts}
    if any(name not in known for name in options):
        # Not quoted: an unencoded "?" in a password ends up here.
        raise ValueError(f"unknown option after ?; {scheme}:// has {', '.join(known) or 'none'}")
    if options.get("ssl_check_hostname", "true") not in ("true", "false"):
        raise ValueError("expected ssl_check_hostname=true or =false")
    return {name: value for name, value in options.items() if value}


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None or not 0 < (port := int(match["port"] or default_port)) < 65536:
        raise ValueError("expected a host, or host:port; user and password percent-encoded")
    return match["v6"] or match["name"], port


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,4}", text):
        raise ValueError("expected the number of a database at the end")
    return int(text or 0)
