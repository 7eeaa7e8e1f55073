"""What the demo consists of: where its parts are, and what it takes to use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from aionotify.config import Config

HOST: Final = "127.0.0.1"  # all of it is for this machine alone
# Known to everybody who has read this or the documentation: they open nothing but a demo.
USERS: Final = MappingProxyType({"alice-token": "alice", "bob-token": "bob"})


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen; 0 is any free port, None one that is preferred but not needed."""

    server: int = 8001
    main_host: int = 8000
    redis: int | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Where the parts are, and what it takes to use them.

    Attributes:
        url: of the server and its page.
        redis_port: on which Redis can be talked to from outside.
        key: lets its bearer publish over HTTP; made for this run.
        tokens: the token of each user.
    """

    config: Config
    url: str
    main_host_url: str
    redis_port: int
    key: str = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)
