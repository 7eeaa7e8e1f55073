"""Push notifications to signed-in users over Server-Sent Events, on aiohttp and Redis.

A server of its own (``aionotify serve``), or part of an application: ``aionotify.setup(app)``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from aionotify._version import __version__ as __version__

if TYPE_CHECKING:
    from aionotify.app import PUBLISHER, create_app, drain, reload, setup
    from aionotify.auth import Authenticator, Identity
    from aionotify.auth.middleware import IDENTITY
    from aionotify.broker.published import PartlyPublished, Published
    from aionotify.broker.publisher import Publisher
    from aionotify.broker.sync_publisher import SyncPublisher
    from aionotify.client.client import Client, EventTooLong, ServerSentEvent, StreamRefused
    from aionotify.client.history import HistoryPage, ListedEvent
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
    "HistoryPage",
    "Identity",
    "InvalidEvent",
    "InvalidScheme",
    "InvalidToken",
    "ListedEvent",
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

_PLACES = {
    "aionotify.app": "PUBLISHER create_app drain reload setup",
    "aionotify.auth": "Authenticator Identity",
    "aionotify.auth.middleware": "IDENTITY",
    "aionotify.broker.published": "PartlyPublished Published",
    "aionotify.broker.publisher": "Publisher",
    "aionotify.broker.sync_publisher": "SyncPublisher",
    "aionotify.client.client": "Client EventTooLong ServerSentEvent StreamRefused",
    "aionotify.client.history": "HistoryPage ListedEvent",
    "aionotify.config": "Config load_config",
    "aionotify.errors": (
        "AionotifyError AuthError AuthFailed AuthUnavailable BrokerError BrokerRefused"
        " BrokerUnavailable ConfigError CredentialsMissing InvalidEvent InvalidScheme InvalidToken"
    ),
}
"""Where each name is. It is imported when it is used, so that the command is there at once."""


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names.split():
            value: object = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
