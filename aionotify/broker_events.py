"""Where it goes what is heard from Redis: events to the hub, and what concerns tokens to who may
listen.
"""

import logging

from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.broker.control import ControlChannel, decode_control
from aionotify.errors import BrokerError, InvalidEvent
from aionotify.events.event import EVERYONE
from aionotify.streams.hub import Hub
from aionotify.telemetry.sampled import Sampled

_log = logging.getLogger(__name__)


class BrokerEvents:
    """A `Sink` for the subscriber. Events go straight to the hub."""

    def __init__(self, hub: Hub, authenticator: TicketAuthenticator) -> None:
        self.ephemeral = hub.ephemeral
        self.durable = hub.durable
        self._hub = hub
        self._authenticator = authenticator
        self._sampled = Sampled(_log)

    def confirmed(self, recipient_id: str) -> None:
        """What concerns tokens is heard on the same connection as what concerns everyone."""
        if recipient_id == EVERYONE and (moving := self._authenticator.moving) is not None:
            moving.heard()
        self._hub.confirmed(recipient_id)

    def lost(self) -> None:
        if (moving := self._authenticator.moving) is not None:
            moving.unheard()
        self._hub.lost()

    def revoked(self, user_id: str) -> None:
        """Forget first: who is closed comes back at once."""
        self._authenticator.forget(user_id)
        self._hub.revoked(user_id)

    def handed_over(self, message: bytes) -> None:
        if (moving := self._authenticator.moving) is not None:
            moving.hear(message)

    async def catch_up(self, control: ControlChannel) -> None:
        """Take note of what was said before anything was heard here, while another node left."""
        if (moving := self._authenticator.moving) is None:
            return
        # What is heard from now on may come before what is read, and have been said after it.
        now = moving.now
        try:
            logged = await control.logged()
        except BrokerError as error:
            _log.warning("what was handed over is lost", extra={"fields": {"reason": str(error)}})
            return
        for age, data in logged:
            try:
                message = decode_control(data)
                if message.revoke is not None:
                    self._authenticator.forget(message.revoke, age)
                if message.handed_over is not None:
                    moving.read(message.handed_over, age, now)
            except InvalidEvent as error:
                self._hub.stats.events_invalid += 1
                fields = {"from": "control log", "reason": str(error)}
                self._sampled.warning("skipped an invalid event", fields)
