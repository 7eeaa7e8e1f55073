"""The composition root: the only one who knows everybody.

Parts are put together here, and started and stopped in the order written here.
"""

import asyncio
import logging
import resource
from typing import Final

from aiohttp import web

from aionotify import tasks
from aionotify.auth import Authenticator
from aionotify.auth.configured import Recipe, recipe
from aionotify.auth.publishers import PublisherKeys
from aionotify.auth.stats import AuthStats
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Tickets
from aionotify.broker.connect import Endpoint
from aionotify.broker.control import ControlChannel
from aionotify.broker.directory import Directory
from aionotify.broker.inbox import Inbox
from aionotify.broker.listener import Listener
from aionotify.broker.names import Names
from aionotify.broker.publisher import Publisher
from aionotify.broker.store import Store
from aionotify.broker.tickets import RedisTickets
from aionotify.config import Config
from aionotify.descriptors import Descriptors
from aionotify.heard import Heard
from aionotify.hub import Hub
from aionotify.leaving import leave
from aionotify.patience import Patience
from aionotify.present import Present
from aionotify.pulse import Pulse
from aionotify.siblings import Siblings
from aionotify.stats import Reloads, Stats
from aionotify.stream import StreamSettings
from aionotify.watch import Watch
from aionotify.web.limits import Limits
from aionotify.web.routes import admin_routes, public_routes
from aionotify.web.services import SERVICES, Services, Terms

_log = logging.getLogger(__name__)

_DESCRIPTORS_KEPT: Final = 256  # for Redis, the main host, requests that are no streams
_SETTLE: Final = 1.0  # seconds that a first byte may wait for Redis to say where "now" is


class Instance:
    """One instance: its parts, and the order in which they start and stop.

    Nothing is opened, and no task started, before `start`.
    """

    def __init__(self, config: Config, authenticator: Authenticator | None = None) -> None:
        self._endpoint = Endpoint(config.redis)
        self._tasks: list[asyncio.Task[None]] = []
        self._given = authenticator
        self._asked: Authenticator | Recipe = authenticator or recipe(config)
        stats, auth_stats = Stats(), AuthStats()
        names = Names(config.redis.prefix, config.redis.channel)
        client, max_bytes = self._endpoint.client, config.events.max_bytes
        # Long answers on one connection, so that they hold up nobody who wants a short one.
        reads, writes = self._endpoint.commands("reads"), self._endpoint.commands("writes")
        listener = Listener(self._endpoint, names, max_bytes=max_bytes, stats=stats)
        control = ControlChannel(client, names)
        tickets = TicketAuthenticator(
            self._asked.make(auth_stats, control.hand_over, config.auth.revalidate)
            if isinstance(self._asked, Recipe)
            else self._asked,
            Tickets(RedisTickets(writes.execute, names), config.auth.ticket_ttl),
            longest=config.auth.revalidate,
            stats=auth_stats,
        )
        hub = Hub(
            listener,
            stats=stats,
            max_streams=config.server.max_streams or _streams_that_fit(),
            max_streams_per_user=config.server.max_streams_per_user,
        )
        inbox = Inbox(
            reads.execute,
            names,
            retention=config.inbox.retention,
            max_bytes=max_bytes,
            page_bytes=config.stream.buffer // 2,  # a stream reads two inboxes
            stats=stats,
        )
        self.services = Services(
            terms=Terms(
                config,
                PublisherKeys(config.admin.publish_keys),
                StreamSettings(
                    config.stream.send_timeout, config.stream.retry, config.stream.buffer
                ),
            ),
            hub=hub,
            listener=listener,
            inbox=inbox,
            store=Store(client, names),
            pulse=Pulse(config.stream.heartbeat),
            present=Present(hub, inbox, Patience(_SETTLE)),
            watch=Watch(config.auth.revalidate, tickets.revalidate),
            authenticator=tickets,
            publisher=Publisher(
                self._endpoint,
                prefix=config.redis.prefix,
                inbox=config.inbox,
                max_bytes=max_bytes,
            ),
            directory=Directory(client, names),
            control=control,
            descriptors=Descriptors(),
            siblings=Siblings(),
            limits=Limits(
                max_streams_per_address=config.server.max_streams_per_address,
                handshake_rate=config.server.handshake_rate,
                trusted_proxies=config.server.trusted_proxies,
            ),
            stats=stats,
            auth_stats=auth_stats,
            reloads=Reloads(),
        )

    async def start(self, app: web.Application) -> None:
        """Where events come from first, then who may listen, then what keeps streams in order."""
        services = self.services
        await self._endpoint.start()
        heard = Heard(services.hub, services.authenticator)
        await services.listener.start(heard)
        await heard.catch_up(services.control)
        await services.authenticator.start()
        self._tasks = [
            asyncio.create_task(services.pulse.run(), name="aionotify pulse"),
            asyncio.create_task(services.watch.run(), name="aionotify watch"),
            asyncio.create_task(services.store.run(), name="aionotify store check"),
            asyncio.create_task(services.descriptors.run(), name="aionotify descriptor check"),
        ]

    async def reload(self, config: Config) -> tuple[str, ...]:
        """See the function `reload`.

        Whatever can be wrong is found by making another instance, as at a start; then the parts of
        this one adopt what those of the other were made with.
        """
        ours, inner = self.services, None
        try:
            other = Instance(config, self._given)
            asked = other._asked
            if isinstance(asked, Recipe) and asked != self._asked:
                tell = ours.control.hand_over
                inner = asked.make(ours.auth_stats, tell, config.auth.revalidate)
        except Exception:
            ours.reloads.done(successful=False)
            raise
        new = other.services
        ours.terms.config = ours.terms.config.reloaded(config)
        ours.terms.publisher_keys, ours.terms.stream = new.terms.publisher_keys, new.terms.stream
        ours.hub.adopt(new.hub)
        ours.limits.adopt(new.limits)
        ours.listener.adopt(new.listener)
        ours.inbox.adopt(new.inbox)
        ours.publisher.adopt(new.publisher)
        ours.pulse.adopt(new.pulse)
        ours.watch.adopt(new.watch)
        ours.authenticator.adopt(new.authenticator)
        if inner is not None:
            self._asked = asked
            ours.authenticator.replace_inner(inner)
            # About every stream, as when a node drains, so spread over the same time.
            ours.watch.doubt(config.server.drain)
        ours.reloads.done(successful=True)
        waiting = tuple(item.path for item in ours.terms.config.changed(config))
        await ours.authenticator.close_replaced()
        return waiting

    async def shut_down(self, app: web.Application) -> None:
        """End the streams: aiohttp would wait for their handlers, twice its shutdown_timeout."""
        try:
            await self.drain(self.services.terms.config.server.drain)
        except TimeoutError:  # no reason to keep the application from what else it has to do
            _log.warning("not every stream ended in time")

    async def drain(self, seconds: float) -> None:
        """Take no new streams, and end the open ones spread over `seconds`."""
        await leave(self.services, seconds)

    async def clean_up(self, app: web.Application) -> None:
        """Everything that `start` started, in the opposite order."""
        services = self.services
        await tasks.cancelled(self._tasks)
        await services.siblings.leave()
        await services.authenticator.close()
        await services.listener.close()
        await services.control.close()
        await services.present.close()
        await services.inbox.close()
        await services.publisher.close()
        await self._endpoint.close()

    def install(self, app: web.Application, *, admin: bool, answered: bool = False) -> None:
        """Add routes and hooks to `app`; see `public_routes`."""
        app[INSTANCE] = self
        app[SERVICES] = self.services
        app.add_routes(public_routes(self.services, answered=answered))
        if admin:
            app.add_routes(admin_routes(self.services, answered=answered))
        app.on_startup.append(self.start)
        app.on_shutdown.append(self.shut_down)
        app.on_cleanup.append(self.clean_up)


INSTANCE: Final = web.AppKey("aionotify.instance", Instance)


def _streams_that_fit() -> int:
    """As many streams as there may be open files, but for a few."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, soft - min(_DESCRIPTORS_KEPT, soft // 4))
