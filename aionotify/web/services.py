"""The parts that handlers use; `instance.py` builds one `Services` per instance."""

import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from aionotify.auth.publish_keys import PublishKeys
from aionotify.auth.stats import AuthStats
from aionotify.auth.ticket_authenticator import Holder, TicketAuthenticator
from aionotify.broker.away import Away
from aionotify.broker.control import ControlChannel
from aionotify.broker.data_set import DataSet
from aionotify.broker.hand_on import HandOn
from aionotify.broker.history import History
from aionotify.broker.inbox import Inbox
from aionotify.broker.ingest import Ingest
from aionotify.broker.inspection import Inspection
from aionotify.broker.memberships import RedisMemberships
from aionotify.broker.presence import Presence
from aionotify.broker.presence_tracker import PresenceTracker
from aionotify.broker.publisher import Publisher
from aionotify.broker.read_marks import ReadMarks
from aionotify.broker.subscriber import Subscriber
from aionotify.config import Config
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.memberships import Memberships
from aionotify.streams.revalidation import Revalidation
from aionotify.streams.start_position import StartPositions
from aionotify.streams.stream import StreamSettings
from aionotify.telemetry.open_files import OpenFiles
from aionotify.telemetry.stats import Reloads, Stats
from aionotify.telemetry.worker_peers import WorkerPeers
from aionotify.web.cors import Cors
from aionotify.web.limits import Limits
from aionotify.web.publish_bytes import PublishBytes
from aionotify.web.publish_streams import PublishStreams
from aionotify.webhook.presence_poster import PresencePoster


@dataclass(slots=True)
class Terms:
    """The configuration in force.

    A reload replaces all members in one step of the event loop. So read them when you use them, and
    do not keep them.
    """

    config: Config
    publish_keys: PublishKeys
    stream: StreamSettings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one instance that answer requests."""

    terms: Terms
    hub: Hub
    subscriber: Subscriber
    inbox: Inbox
    history: History
    read_marks: ReadMarks
    data_set: DataSet
    heartbeat: Heartbeat
    start_positions: StartPositions
    revalidation: Revalidation[Holder]
    authenticator: TicketAuthenticator
    publisher: Publisher
    ingest: Ingest
    away: Away
    hand_on: HandOn | None
    publish_bytes: PublishBytes
    publish_streams: PublishStreams
    presence: Presence
    presence_tracker: PresenceTracker | None
    presence_poster: PresencePoster | None
    control: ControlChannel
    inspection: Inspection
    memberships: Memberships
    membership_store: RedisMemberships
    open_files: OpenFiles
    worker_peers: WorkerPeers
    limits: Limits
    cors: Cors
    stats: Stats
    auth_stats: AuthStats
    reloads: Reloads
    started_at: float = field(default_factory=time.time)
    """In unix seconds."""


SERVICES: Final = web.AppKey("aionotify.services", Services)
