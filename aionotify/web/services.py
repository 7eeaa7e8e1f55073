"""What handlers work with; `instance.py` puts it together, one for each instance."""

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
from aionotify.present import Present
from aionotify.pulse import Pulse
from aionotify.siblings import Siblings
from aionotify.stats import Reloads, Stats
from aionotify.stream import StreamSettings
from aionotify.watch import Watch
from aionotify.web.limits import Limits


@dataclass(slots=True)
class Terms:
    """What is configured now.

    A reload puts another one in the place of each, all in one step of the event loop. So whoever
    goes by them reads them when that is, and keeps none.
    """

    config: Config
    publisher_keys: PublisherKeys
    stream: StreamSettings


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one instance that answer requests."""

    terms: Terms
    hub: Hub
    listener: Listener
    inbox: Inbox
    store: Store
    pulse: Pulse
    present: Present
    watch: Watch[web.Request]
    authenticator: TicketAuthenticator
    publisher: Publisher
    directory: Directory
    control: ControlChannel
    descriptors: Descriptors
    siblings: Siblings
    limits: Limits
    stats: Stats
    auth_stats: AuthStats
    reloads: Reloads


SERVICES: Final = web.AppKey("aionotify.services", Services)
