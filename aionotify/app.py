"""What applications call, ours and others'.

`create_app(config)` makes an application of its own; `setup(app, config)` adds an instance to one
that exists.
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
from aionotify.web.routes import admin_routes
from aionotify.web.services import SERVICES

INSTANCES: Final = web.AppKey("aionotify.instances", dict[str, Instance])
"""All that were set up in an application, by their prefix."""
PUBLISHER: Final = web.AppKey("aionotify.publisher", Publisher)
"""The publisher of the only one that was."""


def create_app(config: Config, authenticator: Authenticator | None = None) -> web.Application:
    """An application that is nothing but aionotify.

    Args:
        authenticator: takes the place of the configured one.

    Raises:
        ConfigError: what `config` names cannot be used.
    """
    instance = Instance(config, authenticator)
    app = web.Application(middlewares=[answering(instance.services)])
    instance.install(app, admin=config.admin.port is None, answered=True)
    _register(app, instance, "")
    return app


def create_admin_app(app: web.Application) -> web.Application:
    """The application for the second address, of the instance in `app`."""
    services = app[SERVICES]
    admin = web.Application(middlewares=[answering(services)])
    admin[SERVICES] = services
    admin.add_routes(admin_routes(services, answered=True))
    return admin


def setup(
    app: web.Application,
    config: Config | None = None,
    *,
    prefix: str = "",
    authenticator: Authenticator | None = None,
) -> None:
    """Add aionotify to an application that exists.

    It gets our routes and nothing else of it changes: not its middlewares, logging or signals.
    ``app[aionotify.PUBLISHER]`` publishes as configured, from its start to its cleanup.

    Args:
        prefix: put before our routes, ``/push`` for ``/push/notify``; with it, several instances
            fit into one application.
        authenticator: says who a request is from, in place of the configured one.

    Raises:
        ConfigError: what `config` names cannot be used.
        RuntimeError: there is an instance in `app` already, and no other `prefix` for this one.
    """
    if prefix in app.get(INSTANCES, {}):
        raise RuntimeError(
            "aionotify is already set up in this application; a second instance needs a prefix"
        )
    instance = Instance(config or Config(), authenticator)
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
    else:  # the users of one are not those of the other, and nobody has said whose are meant
        app.pop(PUBLISHER, None)


async def join(app: web.Application, place: WorkerPlace) -> None:
    """Let `app` tell its siblings, and ask them, what there is to tell of each worker.

    Raises:
        OSError: they cannot be bound.
    """
    services = app[SERVICES]
    await services.worker_peers.join(place, partial(snapshot, services))


def count_malformed(app: web.Application) -> None:
    """Take note of a request that was none; no handler of `app` has seen it."""
    if (services := app.get(SERVICES)) is not None:
        services.stats.refused["malformed"] += 1


def config_of(app: web.Application) -> Config:
    """The configuration in force."""
    return app[SERVICES].terms.config


def check(config: Config) -> None:
    """Raise the ConfigError that a start, or a reload, with `config` would."""
    Instance(config)


def not_reloaded(app: web.Application) -> None:
    """Take note that a configuration was refused before `reload` could be called with it."""
    app[SERVICES].reloads.done(successful=False)


def status(app: web.Application) -> str:
    """How `app` is, in one line for a person: its open streams, and what is wrong if anything."""
    services = app[SERVICES]
    wrong = [f"{check}: {found}" for check, found in problems(services).items() if found]
    return f"Open streams: {len(services.hub)}; {'; '.join(wrong) or 'subscribed to Redis'}"


async def drain(app: web.Application, seconds: float) -> None:
    """Prepare `app` for its end: not ready any more, and every stream ended within `seconds`.

    Args:
        app: what `create_app` returned, or `setup` was given, with or without a prefix.

    Raises:
        RuntimeError: neither was the case.
        TimeoutError: some streams did not end.
    """
    if INSTANCES not in app:
        raise RuntimeError("call aionotify.setup(app, config) first: there is nothing to drain")
    await asyncio.gather(*(instance.drain(seconds) for instance in app[INSTANCES].values()))


async def reload(app: web.Application, config: Config, *, prefix: str = "") -> tuple[str, ...]:
    """Put another configuration in force. No stream ends of it, and no event is lost.

    New requests find it in force at once. Streams that are open go on as they were opened; if
    another one says now whose a token is, it is asked about theirs within ``server.drain`` seconds.
    An authenticator that `setup` or `create_app` was given stays.

    Args:
        app: what `create_app` returned, or `setup` was given.
        prefix: the one that `setup` was given.

    Returns:
        The names of settings that are not in force, since they take a restart. Which ones do is
        in docs/configuration.rst.

    Raises:
        ConfigError: what `config` names cannot be used. All is as it was before.
        RuntimeError: there is no such instance in `app`.
    """
    instance = app.get(INSTANCES, {}).get(prefix)
    if instance is None:
        raise RuntimeError("call aionotify.setup(app, config) first: there is nothing to reload")
    return await instance.reload(config)
