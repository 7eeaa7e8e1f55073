"""What handlers work with; `app.py` puts it together, one for each instance."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from aionotify.auth.publishers import PublisherKeys
from aionotify.auth.stats import AuthStats
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.broker.control import ControlChannel
from aionotify.broker.directory import Directory
from aionotify.broker.inbox import Inbox
from aionotify.broker.listener import Listener
from aionotify.broker.publisher import Publisher
from aionotify.broker.store import Store
from aionotify.config import Config
from aionotify.descriptors import Descriptors
from aionotify.hub import Hub
from aionotify.patience import Patience
from aionotify.pulse import Pulse
from aionotify.siblings import Siblings
from aionotify.stats import Stats
from aionotify.stream import StreamSettings
from aionotify.watch import Watch
from aionotify.web.limits import Limits


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one instance that answer requests."""

    config: Config
    hub: Hub
    listener: Listener
    inbox: Inbox
    store: Store
    pulse: Pulse
    patience: Patience
    watch: Watch[web.Request]
    authenticator: TicketAuthenticator
    publisher: Publisher
    publisher_keys: PublisherKeys
    directory: Directory
    control: ControlChannel
    descriptors: Descriptors
    siblings: Siblings
    limits: Limits
    stream: StreamSettings
    stats: Stats
    auth_stats: AuthStats


SERVICES: Final = web.AppKey("aionotify.services", Services)
