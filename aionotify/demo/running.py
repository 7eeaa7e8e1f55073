"""Starts and stops the demo's parts: Redis, the shop, which is the main host, and the server.

Redis and the server are processes of their own, the shop is in ours. Everything listens on
127.0.0.1 only. Whatever happens, the parts stop in the opposite order.
"""

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Final

from aiohttp import web

from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.broker.publisher import Publisher
from aionotify.config import (
    AdminConfig,
    AuthConfig,
    Config,
    CorsConfig,
    MainHostConfig,
    PublishKey,
    ServerConfig,
    StreamConfig,
)
from aionotify.config.sections import RIGHTS
from aionotify.demo import main_host, page
from aionotify.demo.commands import commands
from aionotify.demo.server_process import ServerProcess
from aionotify.demo.shop import Shop, answering, products
from aionotify.demo.world import HOST, USERS, Ports, World
from aionotify.process import node
from aionotify.process.sockets import CannotListen, address_of, listen

_REDIS_PORT: Final = 6380  # 6379 may belong to another Redis
_DRAIN: Final = 0.5  # seconds; a demo should stop quickly
_RETRY: Final = 1000  # milliseconds; and come back quickly


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
        ServerFailed: the server does not start.
    """
    async with contextlib.AsyncExitStack() as undo:
        # Sockets first, so that a taken port is reported before anything runs.
        sockets = _sockets(undo, ports.server, "--port")
        shop_sockets = _sockets(undo, ports.main_host, "--main-host-port")
        redis_port = _redis_port(ports.redis)
        redis = EmbeddedServer(tcp_port=redis_port)
        await redis.start()
        undo.push_async_callback(redis.stop)

        url, shop_url = address_of(sockets[0]), address_of(shop_sockets[0])
        key = secrets.token_urlsafe(24)
        config = _config(given, sockets[0], shop_url, redis.url, key)
        tokens = {user: token for token, user in USERS.items()}
        world = World(config, url, shop_url, redis_port, key, tokens)
        server = ServerProcess(config, sockets)
        undo.push_async_callback(server.stop)
        # First: the server asks it about tokens.
        await node.start(undo, await _shop(undo, world, users, server), shop_sockets)
        await server.start()
        yield world


def _config(
    given: Config, server: socket.socket, shop_url: str, redis_url: str, key: str
) -> Config:
    host, port = server.getsockname()[:2]
    default = given.stream.retry == StreamConfig().retry
    retry = _RETRY if default else given.stream.retry
    origins = (shop_url, shop_url.replace(HOST, "localhost"))
    return replace(
        given,
        server=ServerConfig(host=host, port=port, drain=_DRAIN),
        admin=AdminConfig(publish_keys=(PublishKey(key, rights=frozenset(RIGHTS)),)),
        auth=AuthConfig(main_host=MainHostConfig(url=shop_url)),
        redis=replace(given.redis, url=redis_url, data_dir=None),
        stream=replace(given.stream, retry=retry),
        cors=CorsConfig(origins=origins),
        log=replace(given.log, level="warning"),  # the terminal shows commands to copy
    )


async def _shop(
    undo: contextlib.AsyncExitStack, world: World, users: Mapping[str, str], server: ServerProcess
) -> web.Application:
    """Return the shop's application, with its page."""
    config = world.config
    publisher = Publisher(
        config.redis.url,
        prefix=config.redis.prefix,
        inbox=config.inbox,
        max_bytes=config.events.max_bytes,
    )
    undo.push_async_callback(publisher.close)
    shop = Shop(publisher, server, users, world.key)
    settings = {
        "server": world.url,
        "key": world.key,
        "users": [{"user": user, "token": token} for user, token in world.tokens.items()],
        "products": products(),
        "commands": [{"does": does, "line": line} for does, line in commands(world)],
    }
    # local_only is outermost: it protects every route.
    app = web.Application(middlewares=[page.local_only, answering])
    app.add_routes(main_host.routes(users))
    app.add_routes(page.routes(settings, world.tokens, world.url))
    app.add_routes(shop.routes())
    app.cleanup_ctx.append(shop.shipping)
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
