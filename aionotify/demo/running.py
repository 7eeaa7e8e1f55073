"""Starts and stops the demo's parts in one process: Redis, a main host, the server, its page.

Everything listens on 127.0.0.1 only. Whatever happens, the parts stop in the opposite order.
"""

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from aiohttp import web

from aionotify.app import create_app
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.config import (
    AdminConfig,
    AuthConfig,
    Config,
    CorsConfig,
    MainHostConfig,
    PublishKey,
    ServerConfig,
)
from aionotify.demo import page
from aionotify.demo.commands import TYPES, commands
from aionotify.demo.main_host import main_host
from aionotify.demo.world import HOST, USERS, Ports, World
from aionotify.process import node
from aionotify.process.sockets import CannotListen, address_of, listen

_REDIS_PORT: Final = 6380  # 6379 may belong to another Redis
_DRAIN: Final = 0.5  # seconds; a demo should stop quickly


@contextlib.asynccontextmanager
async def running(
    given: Config, ports: Ports, users: Mapping[str, str] = USERS
) -> AsyncIterator[World]:
    """Run everything.

    Args:
        given: the settings that the demo does not set itself.
        users: the user of each token, as the main host says.

    Raises:
        CannotListen: a port is taken.
        BrokerUnavailable, ConfigError: the embedded Redis does not start, or is not installed.
    """
    async with contextlib.AsyncExitStack() as undo:
        # Sockets first, so that a taken port is reported before anything runs.
        sockets = _sockets(undo, ports.server, "--port")
        main_host_sockets = _sockets(undo, ports.main_host, "--main-host-port")
        redis_port = _redis_port(ports.redis)
        redis = EmbeddedServer(tcp_port=redis_port)
        await redis.start()
        undo.push_async_callback(redis.stop)

        url, main_host_url = address_of(sockets[0]), address_of(main_host_sockets[0])
        key = secrets.token_urlsafe(24)
        config = replace(
            given,
            server=ServerConfig(host=HOST, port=sockets[0].getsockname()[1], drain=_DRAIN),
            admin=AdminConfig(publish_keys=(PublishKey(key),)),
            auth=AuthConfig(main_host=MainHostConfig(url=main_host_url)),
            redis=replace(given.redis, url=redis.url, data_dir=None),
            cors=CorsConfig(),
        )
        tokens = {user: token for token, user in USERS.items()}
        world = World(config, url, main_host_url, redis_port, key, tokens)
        await node.start(undo, main_host(users), main_host_sockets)
        await node.start(undo, await _server(undo, world), sockets)
        yield world


async def _server(undo: contextlib.AsyncExitStack, world: World) -> web.Application:
    """Return the server's application, with the page."""
    app = create_app(world.config)
    # Outermost: it protects every route.
    app.middlewares.insert(0, page.local_only)
    endpoint = Endpoint(world.config.redis)
    undo.push_async_callback(endpoint.close)
    settings = {
        "key": world.key,
        "users": [{"user": user, "token": token} for user, token in world.tokens.items()],
        "types": TYPES,
        "commands": [{"does": does, "line": line} for does, line in commands(world)],
    }
    app.add_routes(page.routes(settings, endpoint.commands("writes").execute))
    return app


def _sockets(
    undo: contextlib.AsyncExitStack | contextlib.ExitStack, port: int, flag: str
) -> list[socket.socket]:
    try:
        [sockets] = listen(HOST, port)
    except CannotListen as error:
        raise CannotListen(f"{error} ({flag})") from None
    for sock in sockets:
        undo.callback(sock.close)
    return sockets


def _redis_port(port: int | None) -> int:
    """Return a port that is free now: Redis takes a port, but no socket."""
    with contextlib.ExitStack() as undo:
        try:
            sockets = _sockets(undo, _REDIS_PORT if port is None else port, "--redis-port")
        except CannotListen:
            if port is not None:
                raise
            sockets = _sockets(undo, 0, "--redis-port")
        found: int = sockets[0].getsockname()[1]
        return found
