"""What a stream holds while it is open, and gives back when it has ended."""

import logging
import time

from aiohttp import web

from aionotify.auth.identity import Identity
from aionotify.streams.reasons import CloseReason, StartKind
from aionotify.streams.stream import Stream
from aionotify.web.limits import ADDRESS
from aionotify.web.services import Services

_log = logging.getLogger(__name__)


class OpenStream:
    """One user's slot, its place under the limits, and whoever is asked about again.

    Nothing of the request is kept but what shows who it is from.
    """

    __slots__ = ("_address", "_holder", "_number", "_request_id", "_services")

    def __init__(self, services: Services, request: web.Request, request_id: str) -> None:
        self._services = services
        self._request_id = request_id
        self._holder = services.authenticator.holder(request)  # first: somebody's own may raise
        self._address = request.pop(ADDRESS, None)
        self._number = 0

    @property
    def keeps_request(self) -> bool:
        """Whether only the request itself shows who it is from."""
        return isinstance(self._holder.credential, web.Request)

    def begins(
        self,
        stream: Stream,
        identity: Identity,
        start: StartKind,
        *,
        asked: frozenset[str] | None,
        groups: frozenset[str],
        at_once: bool,
    ) -> None:
        """Take note of a stream, and have it asked about from time to time, or `at_once`.

        It has `groups`; the client wants no others than those `asked` for, or all that there are.
        """
        services = self._services
        self._number = services.revalidation.add(stream, identity, self._holder, at_once=at_once)
        services.authenticator.opened(self._holder)
        services.memberships.opened(stream, identity.groups, asked, groups)
        services.stats.opened[start] += 1
        fields = {"user": stream.recipient.id, "request": self._request_id, "start": start}
        _log.info("stream opened", extra={"fields": fields})

    def ended(self, stream: Stream) -> None:
        """Give back what the stream has held."""
        services = self._services
        services.revalidation.discard(self._number)
        services.authenticator.ended(self._holder, moves=stream.ended is CloseReason.DRAIN)
        services.limits.leave(self._address)
        services.hub.leave(stream.recipient)
        services.hub.leave_groups(stream.groups)
        services.memberships.ended(stream)
        fields = {
            "user": stream.recipient.id,
            "request": self._request_id,
            "reason": stream.ended,
            "seconds": round(time.monotonic() - stream.opened_at, 3),
            "events": stream.events,
        }
        _log.info("stream closed", extra={"fields": fields})
