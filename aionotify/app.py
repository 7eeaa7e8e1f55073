"""The functions that applications call.

`create_app(config)` makes a standalone application; `setup(app, config)` adds an instance to an
existing one.
"""

import asyncio
from functools import partial
from typing import Final

from aiohttp import web

from aionotify.auth import Authenticator
from aionotify.broker.publisher import Publisher
from aionotify.config import Config
from aionotify.instance import Instance
from aionotify.telemetry.worker_peers import WorkerPlace
from aionotify.web.health import problems
from aionotify.web.metrics import snapshot
from aionotify.web.middlewares import answering
from aionotify.web.routes import admin_routes, health_routes, inbox_routes, page_routes
from aionotify.web.services import SERVICES

INSTANCES: Final = web.AppKey("aionotify.instances", dict[str, Instance])
"""All instances in an application, by prefix."""
PUBLISHER: Final = web.AppKey("aionotify.publisher", Publisher)
"""The publisher of the only instance."""


def create_app(config: Config, authenticator: Authenticator | None = None) -> web.Application:
    """Return an application that is only aionotify.

    Args:
        authenticator: replaces the configured one.

    Raises:
        ConfigError: what `config` names cannot be used.
    """
    instance = Instance(config, authenticator)
    app = web.Application(middlewares=[answering(instance.services)])
    instance.install(app, admin=config.admin.port is None, answered=True)
    _register(app, instance, "")
    return app


def create_admin_app(app: web.Application) -> web.Application:
    """Return the application for the admin address of the instance in `app`."""
    services = app[SERVICES]
    admin = web.Application(middlewares=[answering(services)])
    admin[SERVICES] = services
    admin.add_routes(admin_routes(services, answered=True))
    admin.add_routes(inbox_routes(services, answered=True))
    admin.add_routes(page_routes(services, answered=True))
    admin.add_routes(health_routes(services, answered=True))
    return admin


def setup(
    app: web.Application,
    config: Config | None = None,
    *,
    prefix: str = "",
    authenticator: Authenticator | None = None,
    hand_over: bool = False,
) -> None:
    """Add aionotify to an existing application.

    The application gets aionotify's routes. Its middlewares, logging and signals do not change.
    ``app[aionotify.PUBLISHER]`` publishes as configured, from startup to cleanup.

    Args:
        prefix: put before the routes, ``/push`` for ``/push/notify``; with it, one application can
            have several instances.
        authenticator: identifies the user of a request, instead of the configured one.
        hand_over: whether streams take their connections over from aiohttp. Each needs a quarter of
            the memory then, and the application's own middlewares and access log see a request that
            ends as soon as its stream has opened.

    Raises:
        ConfigError: what `config` names cannot be used.
        RuntimeError: `app` already has an instance with this `prefix`.
    """
    if prefix in app.get(INSTANCES, {}):
        raise RuntimeError(
            "aionotify is already set up in this application; a second instance needs a prefix"
        )
    instance = Instance(config or Config(), authenticator, hand_over=hand_over)
    target = web.Application() if prefix else app
    instance.install(target, admin=True)
    if prefix:
        app.add_subapp(prefix, target)
    _register(app, instance, prefix)


def _register(app: web.Application, instance: Instance, prefix: str) -> None:
    others: dict[str, Instance] = app.get(INSTANCES, {})
    app[INSTANCES] = {**others, prefix: instance}
    if not others:
        app[PUBLISHER] = instance.services.publisher
    else:  # they may have different users, so which one to publish to is ambiguous
        app.pop(PUBLISHER, None)


async def join(app: web.Application, place: WorkerPlace) -> None:
    """Let `app` exchange metrics with its peers, the other workers.

    Raises:
        OSError: they cannot be bound.
    """
    services = app[SERVICES]
    await services.worker_peers.join(place, partial(snapshot, services))


def count_malformed(app: web.Application) -> None:
    """Count a malformed request, which no handler of `app` has seen."""
    if (services := app.get(SERVICES)) is not None:
        services.stats.refused["malformed"] += 1


def config_of(app: web.Application) -> Config:
    """Return the configuration in force."""
    return app[SERVICES].terms.config


def check(config: Config) -> None:
    """Raise the ConfigError that a start or a reload with `config` would raise."""
    Instance(config)


def not_reloaded(app: web.Application) -> None:
    """Count a configuration that was refused before `reload` was called with it."""
    app[SERVICES].reloads.done(successful=False)


def status(app: web.Application) -> str:
    """Return the status of `app` in one line: its open streams, and any problems."""
    services = app[SERVICES]
    wrong = [f"{check}: {found}" for check, found in problems(services).items() if found]
    return f"Open streams: {len(services.hub)}; {'; '.join(wrong) or 'subscribed to Redis'}"


def announce_drain(app: web.Application) -> None:
    """Let `app` say that it is no longer ready. It takes streams until `drain`."""
    app[SERVICES].hub.draining = True


async def drain(app: web.Application, seconds: float) -> None:
    """Drain `app`: it is no longer ready, takes no streams, and every one ends within `seconds`.

    Args:
        app: what `create_app` returned, or `setup` was given, with or without a prefix.

    Raises:
        RuntimeError: `app` has no instance.
        TimeoutError: some streams did not end.
    """
    if INSTANCES not in app:
        raise RuntimeError("call aionotify.setup(app, config) first: there is nothing to drain")
    await asyncio.gather(*(instance.drain(seconds) for instance in app[INSTANCES].values()))


async def reload(app: web.Application, config: Config, *, prefix: str = "") -> tuple[str, ...]:
    """Put another configuration in force. No stream ends, and no event is lost.

    New requests use it at once. Open streams keep the settings that they were opened with. If the
    authentication changes, their tokens are revalidated within ``server.drain`` seconds. An
    authenticator that `setup` or `create_app` was given stays.

    Args:
        app: what `create_app` returned, or `setup` was given.
        prefix: the one that `setup` was given.

    Returns:
        The names of settings that are not in force because they need a restart;
        docs/configuration.rst lists them.

    Raises:
        ConfigError: what `config` names cannot be used. Nothing has changed.
        RuntimeError: `app` has no such instance.
    """
    instance = app.get(INSTANCES, {}).get(prefix)
    if instance is None:
        raise RuntimeError("call aionotify.setup(app, config) first: there is nothing to reload")
    return await instance.reload(config)
