"""Push notifications to signed-in users over Server-Sent Events, on aiohttp and Redis.

A server of its own (``aionotify serve``), or part of an application: ``aionotify.setup(app)``.
"""

from aionotify._version import __version__ as __version__
from aionotify.app import PUBLISHER, create_app, drain, reload, setup
from aionotify.auth import Authenticator, Identity
from aionotify.auth.middleware import IDENTITY
from aionotify.broker.publisher import PartlyPublished, Published, Publisher
from aionotify.broker.sync_publisher import SyncPublisher
from aionotify.client.client import Client, EventTooLong, ServerSentEvent, StreamRefused
from aionotify.config import Config, load_config
from aionotify.errors import (
    AionotifyError,
    AuthError,
    AuthFailed,
    AuthUnavailable,
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigError,
    CredentialsMissing,
    InvalidEvent,
    InvalidScheme,
    InvalidToken,
)

__all__ = (
    "IDENTITY",
    "PUBLISHER",
    "AionotifyError",
    "AuthError",
    "AuthFailed",
    "AuthUnavailable",
    "Authenticator",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnavailable",
    "Client",
    "Config",
    "ConfigError",
    "CredentialsMissing",
    "EventTooLong",
    "Identity",
    "InvalidEvent",
    "InvalidScheme",
    "InvalidToken",
    "PartlyPublished",
    "Published",
    "Publisher",
    "ServerSentEvent",
    "StreamRefused",
    "SyncPublisher",
    "create_app",
    "drain",
    "load_config",
    "reload",
    "setup",
)
