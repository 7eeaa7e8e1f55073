"""The parts of the demo: their addresses, and the keys and tokens to use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from aionotify.config import Config

HOST: Final = "127.0.0.1"  # only for this machine
# These tokens are public, in this file and the documentation. They work only in a demo.
USERS: Final = MappingProxyType({"alice-token": "alice", "bob-token": "bob"})


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the parts; 0 is any free port, None the preferred one if it is free.

    The main host is the shop.
    """

    server: int = 8001
    main_host: int = 8000
    redis: int | None = None


@dataclass(frozen=True, slots=True)
class World:
    """The addresses of the parts, and the keys and tokens to use them.

    Attributes:
        url: of the notification server.
        shop_url: of the shop, which is the main host, and its page.
        redis_port: Redis' TCP port.
        key: a publish key, made for this run, which allows everything.
        tokens: the token of each user.
    """

    config: Config
    url: str
    shop_url: str
    redis_port: int
    key: str = field(repr=False)
    tokens: Mapping[str, str] = field(repr=False)
