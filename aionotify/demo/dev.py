"""``aionotify serve --dev``: the server, with a private Redis and the demo's users.

Everybody knows the tokens of these users. So only this machine gets in.
"""

import contextlib
import ipaddress
import logging
import secrets
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from aiohttp import web

from aionotify.broker.embedded.server import server_binary
from aionotify.config import Config, MainHostConfig, PublishKey
from aionotify.config.sections import RIGHTS
from aionotify.demo.main_host import routes
from aionotify.demo.page import local_only
from aionotify.demo.world import HOST, USERS
from aionotify.errors import ConfigError
from aionotify.process import node
from aionotify.process.node import Sockets
from aionotify.process.sockets import address_of, listen

_log = logging.getLogger(__name__)

REPLACED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "server.workers": "1",  # the private server belongs to one process
        "auth.method": "main_host",
        "auth.main_host.url": "",  # known when it listens
        "auth.main_host.path": MainHostConfig().path,
        "redis.url": "embedded://",
        "redis.data_dir": "null",  # or a configuration could lead to data that matter
        "redis.wait_replicas": "0",
    }
)
"""The settings that win over those of the configuration, as texts."""

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {"server.drain": "0.5", "server.drain_delay": "0"}  # Ctrl-C ends it at once
)
"""Those that win unless a flag says something else."""


class Dev:
    """One run of the server for development.

    Attributes:
        settings: as `REPLACED`, with the address of the stand-in for the main host.
    """

    def __init__(self) -> None:
        """Raise CannotListen if there is no port for the stand-in."""
        [self._main_host] = listen(HOST, 0)
        self.settings = {**REPLACED, "auth.main_host.url": address_of(self._main_host[0])}
        self._key = secrets.token_urlsafe(24)

    def close(self) -> None:
        """Close the stand-in's sockets; those that have served are closed already."""
        for sock in self._main_host:
            sock.close()

    def checked(self, config: Config) -> Config:
        """Return `config` with a key for this run, which allows everything.

        Raises ConfigError: it would listen on more than this machine, or no server is bundled.
        """
        hosts = {"server.host": config.server.host, "admin.host": config.admin.host}
        problems = {
            name: f"expected 127.0.0.1, ::1 or localhost with --dev, whose tokens everybody knows,"
            f" got {host}"
            for name, host in hosts.items()
            if not _is_loopback(host)
        }
        if problems:
            raise ConfigError(problems)
        server_binary()  # before `prepare` prints what to try
        keys = (*config.admin.publish_keys, PublishKey(self._key, rights=frozenset(RIGHTS)))
        return replace(config, admin=replace(config.admin, publish_keys=keys))

    def prepare(self, app: web.Application, sockets: Sockets) -> None:
        """Add the users to the server's application, and print how to try it."""
        fields = {"tokens": " ".join(USERS), "replaced": " ".join(REPLACED)}
        _log.warning("development mode", extra={"fields": fields})
        app.middlewares.insert(0, local_only)  # outermost: it protects every route
        app.cleanup_ctx.insert(0, self._users)
        public = address_of(sockets.public[0])
        admin = address_of(sockets.admin[0]) if sockets.admin else public
        (token, user), *_ = USERS.items()
        event = f'{{"recipient_id": "{user}", "data": {{"text": "Hello"}}}}'
        listen_as = ["curl", "-N", "-H", f"Authorization: Bearer {token}", f"{public}/notify"]
        publish = ["curl", "-H", f"Authorization: Bearer {self._key}", "-d", event]
        print(
            f"# Development mode: the tokens are {' and '.join(USERS)}, nothing is kept,"
            " and Ctrl-C ends it.\n"
            f"# Listen as {user}:\n{shlex.join(listen_as)}\n"
            f"# Publish to {user}:\n{shlex.join([*publish, f'{admin}/publish'])}\n"
            f"# See what goes on, with the same key:\n{admin}/admin\n",
            end="",
            flush=True,
        )

    async def _users(self, app: web.Application) -> AsyncIterator[None]:
        main_host = web.Application()
        main_host.add_routes(routes(USERS))
        async with contextlib.AsyncExitStack() as undo:
            await node.start(undo, main_host, self._main_host)
            yield


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
