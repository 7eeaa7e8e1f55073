"""The composition root: the only one who knows everybody.

Parts are put together here, and started and stopped in the order written here.
"""

import asyncio
import logging
import resource
from collections.abc import Coroutine
from functools import partial
from typing import Final

from aiohttp import web

from aionotify import tasks
from aionotify.auth import Authenticator
from aionotify.auth.answers import Answers
from aionotify.auth.factory import Recipe, recipe
from aionotify.auth.publish_keys import PublishKeys
from aionotify.auth.revocations import Revocations
from aionotify.auth.stats import AuthStats
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Tickets
from aionotify.broker.agreement import node_settings
from aionotify.broker.answer_store import RedisAnswerStore
from aionotify.broker.away import Away, rules_of
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.control import ControlChannel, Question
from aionotify.broker.data_set import DataSet
from aionotify.broker.hand_on import HandOn, Outlet, RedisStream
from aionotify.broker.history import History
from aionotify.broker.inbox import Inbox
from aionotify.broker.ingest import Ingest
from aionotify.broker.inspection import Inspection
from aionotify.broker.keys import Keys
from aionotify.broker.memberships import RedisMemberships
from aionotify.broker.node_lease import NodeLease
from aionotify.broker.presence import Presence
from aionotify.broker.presence_tracker import PresenceTracker
from aionotify.broker.publisher import Publisher
from aionotify.broker.read_marks import ReadMarks
from aionotify.broker.subscriber import Subscriber
from aionotify.broker.ticket_store import RedisTicketStore
from aionotify.broker_events import BrokerEvents
from aionotify.config import Config, MainHostConfig
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.drain import end_all, leave
from aionotify.streams.heartbeat import Heartbeat, interval
from aionotify.streams.hub import Hub, Interest
from aionotify.streams.memberships import Memberships
from aionotify.streams.revalidation import Revalidation
from aionotify.streams.start_position import StartPositions
from aionotify.streams.stream import StreamSettings
from aionotify.telemetry import logs
from aionotify.telemetry.open_files import OpenFiles
from aionotify.telemetry.stats import Reloads, Stats
from aionotify.telemetry.worker_peers import WorkerPeers
from aionotify.web import node_report, users_online
from aionotify.web.cors import Cors
from aionotify.web.limits import Limits
from aionotify.web.publish_bytes import PublishBytes
from aionotify.web.publish_streams import PublishStreams
from aionotify.web.routes import admin_routes, page_routes, public_routes
from aionotify.web.services import SERVICES, Services, Terms
from aionotify.webhook.away_webhook import AwayWebhook
from aionotify.webhook.presence_poster import PresencePoster
from aionotify.webhook.sender import WebhookSender

_log = logging.getLogger(__name__)

_DESCRIPTORS_KEPT: Final = 256  # for Redis, the main host, requests that are no streams
_GAP_FIRST: Final = 1.0  # seconds for streams to say what is lost, or who resumes gets it twice
_SETTLE: Final = 1.0  # seconds that a first byte may wait for Redis to say where "now" is


class Instance:
    """One instance: its parts, and the order in which they start and stop.

    Nothing is opened, and no task started, before `start`.
    """

    def __init__(
        self,
        config: Config,
        authenticator: Authenticator | None = None,
        *,
        hand_over: bool = True,
    ) -> None:
        logs.show_fields()
        self._endpoint = Endpoint(config.redis)
        self._tasks: list[asyncio.Task[None]] = []
        self._given, self._may_hand_over = authenticator, hand_over
        self._asked: Authenticator | Recipe = authenticator or recipe(config)
        stats, auth_stats = Stats(), AuthStats()
        keys = Keys.of(config.redis)
        max_bytes = config.events.max_bytes
        lease = NodeLease()
        # Long answers on one connection, so that they hold up nobody who wants a short one.
        reads, writes = self._endpoint.commands("reads"), self._endpoint.commands("writes")
        data_set = DataSet(
            writes.execute,
            keys,
            retention=config.inbox.retention,
            max_events=config.inbox.max_events,
            idempotency=config.inbox.idempotency,
            whose="node",
            agreed=self._agreed(config),
            also=[each.execute for each in {reads, self._endpoint.publishing} - {writes}],
            lease=lease,
        )
        subscriber = Subscriber(self._endpoint, keys, data_set, max_bytes=max_bytes, stats=stats)
        self._revocations = Revocations()
        keep = max(
            config.auth.revalidate, config.auth.main_host.stale_if_error, config.auth.ticket_ttl
        )
        control = ControlChannel(writes.execute, keys, keep)
        self._answer_store = RedisAnswerStore(writes.execute, keys)
        self._answers = Answers(
            self._answer_store, self._revocations, longest=config.auth.revalidate, keep=keep
        )
        tickets = TicketAuthenticator(
            self._asked.make(auth_stats, self._revocations, self._answers)
            if isinstance(self._asked, Recipe)
            else self._asked,
            Tickets(RedisTicketStore(writes.execute, keys), config.auth.ticket_ttl),
            revocations=self._revocations,
            longest=config.auth.revalidate,
            max_groups=config.stream.max_groups,
            stats=auth_stats,
        )
        tracker = None
        if config.presence.events:
            tracker = PresenceTracker(
                writes.execute,
                keys,
                data_set,
                lease,
                grace=config.presence.grace,
                max_events=config.presence.max_events,
                stats=stats,
            )
        self._webhook = _webhook(config)
        poster = None
        if config.presence.webhook is not None and self._webhook is not None:
            poster = PresencePoster(
                writes.execute,
                keys,
                partial(self._webhook.post, config.presence.webhook),
                may_post=lambda: subscriber.problem is None,
                stats=stats,
            )
        rules = rules_of(config.away)
        away = Away(writes.execute, keys, rules)
        outlet: Outlet | None = None
        if config.away.stream is not None:
            outlet = RedisStream(writes.execute, config.away.stream, config.away.max_entries)
        elif config.away.webhook is not None and self._webhook is not None:
            outlet = AwayWebhook(partial(self._webhook.post, config.away.webhook))
        hand_on = None
        if outlet is not None:
            hand_on = HandOn(
                writes.execute,
                keys,
                away,
                outlet,
                stats=stats,
                may_take=lambda: subscriber.problem is None,
            )
        hub = Hub(
            subscriber if tracker is None else _Both(subscriber, tracker),
            stats=stats,
            max_streams=config.server.max_streams or _streams_that_fit(),
            max_streams_per_user=config.server.max_streams_per_user,
            clock=data_set.clock,
            written=away.written if config.away.is_on else None,
        )
        inspection = Inspection(writes.execute, keys)
        store = RedisMemberships(
            writes.execute, keys, inspection, max_groups=config.stream.max_groups
        )
        memberships = Memberships(hub, store if config.groups.memberships else None)
        self._events = BrokerEvents(
            hub,
            self._revocations,
            control,
            self._revocations_missed,
            self._answer,
            tracker,
            memberships,
            inspection.answer,
        )
        self._under_way: set[asyncio.Task[None]] = set()
        inbox = Inbox(
            reads.execute,
            keys,
            data_set,
            max_bytes=max_bytes,
            page_bytes=config.stream.buffer // 2,  # a stream reads two inboxes
            stats=stats,
        )
        publisher = Publisher(
            self._endpoint,
            prefix=config.redis.prefix,
            inbox=config.inbox,
            max_bytes=max_bytes,
            away=rules,
        )
        publisher.belong_to(data_set, hub.acknowledged)
        self.services = Services(
            terms=Terms(
                config,
                PublishKeys(config.admin.publish_keys),
                StreamSettings(
                    config.stream.send_timeout,
                    config.stream.retry,
                    config.stream.buffer,
                    hand_over=config.stream.hand_over and hand_over,
                ),
            ),
            hub=hub,
            subscriber=subscriber,
            inbox=inbox,
            history=History(reads.execute, keys, data_set, max_bytes=max_bytes, stats=stats),
            read_marks=ReadMarks(writes.execute, keys, data_set),
            data_set=data_set,
            heartbeat=Heartbeat(interval(config.stream.heartbeat, config.inbox.retention)),
            start_positions=StartPositions(hub, inbox, Deadlines(_SETTLE)),
            revalidation=Revalidation(
                config.auth.revalidate, tickets.ask_again, memberships.regrant
            ),
            authenticator=tickets,
            publisher=publisher,
            ingest=Ingest(
                writes.execute,
                self._endpoint.commands("ingest").execute,
                keys,
                publisher,
                stats=stats,
                may_take=lambda: subscriber.problem is None,
            ),
            hand_on=hand_on,
            away=away,
            publish_bytes=PublishBytes(config.admin.max_publish_bytes),
            publish_streams=PublishStreams(),
            presence=Presence(writes.execute, keys),
            presence_tracker=tracker,
            presence_poster=poster,
            control=control,
            inspection=inspection,
            memberships=memberships,
            membership_store=store,
            open_files=OpenFiles(),
            worker_peers=WorkerPeers(),
            limits=Limits(
                max_streams_per_address=config.server.max_streams_per_address,
                handshake_rate=config.server.handshake_rate,
                trusted_proxies=config.server.trusted_proxies,
            ),
            cors=Cors(stats),
            stats=stats,
            auth_stats=auth_stats,
            reloads=Reloads(),
        )

    async def start(self, app: web.Application) -> None:
        """Where events come from first, then who may listen, then what keeps streams in order."""
        services = self.services
        await self._endpoint.start()
        await services.subscriber.start(self._events)
        await self._events.caught_up(_SETTLE)
        await services.authenticator.start()
        self._tasks = [
            asyncio.create_task(services.heartbeat.run(), name="aionotify heartbeat"),
            asyncio.create_task(services.revalidation.run(), name="aionotify revalidation"),
            asyncio.create_task(services.open_files.run(), name="aionotify open files check"),
            asyncio.create_task(
                services.inbox.unreadable.run(services.inbox.newest),
                name="aionotify unreadable inboxes",
            ),
        ]
        if services.terms.config.publish.stream:
            self._tasks.append(
                asyncio.create_task(services.ingest.run(), name="aionotify ingest"),
            )
        if services.presence_tracker is not None:
            self._tasks.append(
                asyncio.create_task(services.presence_tracker.run(), name="aionotify presence"),
            )
        if services.presence_poster is not None:
            self._tasks.append(
                asyncio.create_task(services.presence_poster.run(), name="aionotify webhook"),
            )
        if services.hand_on is not None:
            self._tasks.append(
                asyncio.create_task(services.hand_on.run(), name="aionotify handing on"),
            )

    async def reload(self, config: Config) -> tuple[str, ...]:
        """See the function `reload`.

        Whatever can be wrong is found by making another instance, as at a start; then the parts of
        this one adopt what those of the other were made with.
        """
        ours, inner = self.services, None
        try:
            other = Instance(config, self._given, hand_over=self._may_hand_over)
            asked = other._asked
            if isinstance(asked, Recipe) and asked != self._asked:
                inner = asked.make(ours.auth_stats, self._revocations, self._answers)
        except Exception:
            ours.reloads.done(successful=False)
            raise
        new = other.services
        ours.terms.config = ours.terms.config.reloaded(config)
        ours.terms.publish_keys, ours.terms.stream = new.terms.publish_keys, new.terms.stream
        ours.hub.adopt(new.hub)
        ours.limits.adopt(new.limits)
        other_way_in = self._endpoint.adopt(other._endpoint)
        ours.subscriber.adopt(new.subscriber)
        ours.data_set.adopt(new.data_set, self._agreed(ours.terms.config))
        ours.inbox.adopt(new.inbox)
        ours.history.adopt(new.history)
        ours.publisher.adopt(new.publisher)
        ours.publish_bytes.adopt(new.publish_bytes)
        ours.heartbeat.adopt(new.heartbeat)
        ours.revalidation.adopt(new.revalidation)
        ours.authenticator.adopt(new.authenticator)
        ours.control.adopt(new.control)
        ours.membership_store.adopt(new.membership_store)
        self._answers.adopt(other._answers)
        if inner is not None:
            self._asked = asked
            ours.authenticator.replace_inner(inner)
            # About every stream, as when a node drains, so spread over the same time.
            ours.revalidation.ask_all(config.server.drain)
        ours.reloads.done(successful=True)
        waiting = tuple(item.path for item in ours.terms.config.changed(config))
        await ours.authenticator.close_replaced()
        if other_way_in:
            await ours.subscriber.renew()
        return waiting

    def _revocations_missed(self) -> None:
        """End all streams, as a drain does, unless revalidation finds who was revoked.

        The main host is asked afresh. But a JWT is as good as ever, and so may a session be.
        """
        asked = self._asked
        if isinstance(asked, Recipe) and isinstance(asked.section, MainHostConfig):
            return
        self._start_to(self._end_all(), "ending streams")

    def _start_to(self, work: Coroutine[None, None, None], what: str) -> None:
        task = asyncio.create_task(work, name=f"aionotify {what}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _answer(self, question: Question) -> None:
        if question.listing is not None:
            self._start_to(self._list(question), "listing users")
            return
        answer = node_report.answer(self.services, question.user_id, question.prefix)
        self.services.inspection.answer(question.name, answer)

    async def _list(self, question: Question) -> None:
        answer = await users_online.report(self.services.hub, question)
        self.services.inspection.answer(question.name, answer)

    async def _end_all(self) -> None:
        await asyncio.sleep(_GAP_FIRST)
        await end_all(self.services.hub, self.services.terms.config.server.drain)

    def _agreed(self, config: Config) -> tuple[str, ...]:
        return node_settings(config, own_authenticator=self._given is not None)

    async def shut_down(self, app: web.Application) -> None:
        """End the streams: aiohttp would wait for their handlers, twice its shutdown_timeout.

        Those that are left of a drain end at once: it has had its time.
        """
        began = self.services.hub.closed
        try:
            await self.drain(0 if began else self.services.terms.config.server.drain)
        except TimeoutError:  # no reason to keep the application from what else it has to do
            _log.warning("some streams did not end in time")

    async def drain(self, seconds: float) -> None:
        """Take no new streams, and end the open ones spread over `seconds`."""
        self.services.publish_streams.end()
        if self.services.presence_tracker is not None:
            self.services.presence_tracker.leave()
        await leave(self.services.hub, seconds)

    async def clean_up(self, app: web.Application) -> None:
        """Everything that `start` started, in the opposite order."""
        services = self.services
        if services.hand_on is not None:
            await services.hand_on.leave()
        await tasks.cancelled([*self._tasks, *self._under_way])
        await services.worker_peers.leave()
        if services.presence_tracker is not None:
            await services.presence_tracker.close()
        if services.presence_poster is not None:
            await services.presence_poster.close()
        if self._webhook is not None:
            await self._webhook.close()
        await services.authenticator.close()
        await self._answers.close()
        await self._answer_store.close()
        await services.subscriber.close()
        await self._events.close()
        await services.control.close()
        await services.membership_store.close()
        await services.inspection.close()
        await services.presence.close()
        await services.start_positions.close()
        await services.inbox.close()
        await services.history.close()
        await services.read_marks.close()
        await services.ingest.close()
        if services.hand_on is not None:
            await services.hand_on.close()
        await services.away.close()
        await services.publisher.close()
        await services.data_set.close()
        await self._endpoint.close()

    def install(self, app: web.Application, *, admin: bool, answered: bool = False) -> None:
        """Add routes and hooks to `app`; see `public_routes`."""
        app[INSTANCE] = self
        app[SERVICES] = self.services
        app.add_routes(public_routes(self.services, answered=answered, admin=admin))
        if admin:
            app.add_routes(admin_routes(self.services, answered=answered))
            # An application may have an /admin of its own, which ours would hide.
            if answered or self.services.terms.publish_keys.allow("admin"):
                app.add_routes(page_routes(self.services, answered=answered))
        app.on_startup.append(self.start)
        app.on_shutdown.append(self.shut_down)
        app.on_cleanup.append(self.clean_up)


class _Both(Interest):
    """Two who are told, in this order: the second of users only."""

    def __init__(self, first: Interest, second: PresenceTracker) -> None:
        self._first, self._second = first, second

    def want(self, of: str | int) -> None:
        self._first.want(of)
        if isinstance(of, str):
            self._second.want(of)

    def drop(self, of: str | int) -> None:
        self._first.drop(of)
        if isinstance(of, str):
            self._second.drop(of)


INSTANCE: Final = web.AppKey("aionotify.instance", Instance)


def _webhook(config: Config) -> WebhookSender | None:
    """What posts to the application, if anything is to be posted."""
    if config.webhook.secret is None or not (config.presence.webhook or config.away.webhook):
        return None
    return WebhookSender(
        secret=config.webhook.secret,
        timeout=config.webhook.timeout,
        allow=config.webhook.allow,
        allow_http=config.webhook.allow_http,
    )


def _streams_that_fit() -> int:
    """As many streams as there may be open files, but for a few."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0
    return max(1, soft - min(_DESCRIPTORS_KEPT, soft // 4))
