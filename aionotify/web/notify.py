"""GET /notify: the stream; POST /notify/ticket, for clients that cannot send a header."""

import contextlib
import logging
import time
from typing import Final

from aiohttp import hdrs, web

from aionotify.auth.middleware import IDENTITY
from aionotify.errors import BrokerError, InvalidToken
from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.position import NOWHERE, own_guess
from aionotify.streams.reasons import CloseReason, StartKind
from aionotify.streams.recipient import Recipient
from aionotify.streams.stream import HEADERS, NotificationStream
from aionotify.web.errors import json_response
from aionotify.web.request_id import HEADER, request_id
from aionotify.web.services import SERVICES, Services

_NOWHERE: Final = Cursor(NOWHERE, NOWHERE)  # for an invalid cursor: a gap
_log = logging.getLogger(__name__)


async def notify(request: web.Request) -> web.StreamResponse:
    """Stream the user's events until either side ends it."""
    services = request.config_dict[SERVICES]
    identity, id = request[IDENTITY], request_id(request)
    rounds = services.revalidation.rounds
    recipient = services.hub.enter(identity.user_id)
    revocations = recipient.revocations
    try:
        how, start, epoch = await _start(request, services, recipient)
        if recipient.revocations != revocations:  # before there was a stream to close
            raise InvalidToken("the user's streams are being closed")
        stream = NotificationStream(services.terms.stream, services.hub, recipient)
        stream.headers.update(services.cors.headers(request, services.terms.config.cors))
        stream.headers[HEADER] = id
        await stream.prepare(request)
        # Drop what the client sends after its request. aiohttp would keep it as further requests,
        # up to a megabyte each.
        request.protocol.close()
        at_once = services.revalidation.rounds != rounds
        number = services.revalidation.add(stream, identity, request, at_once=at_once)
        services.authenticator.opened(request)
        try:
            await _run(stream, id, services, start, epoch, how)
        finally:
            services.revalidation.discard(number)
            services.authenticator.ended(request, moves=stream.ended is CloseReason.DRAIN)
    finally:
        services.hub.leave(recipient)
    return stream


async def notify_head(request: web.Request) -> web.Response:
    """Answer the headers of GET, without a stream; takes no slot."""
    return web.Response(headers={**HEADERS, hdrs.CONTENT_TYPE: "text/event-stream"})


async def ticket(request: web.Request) -> web.Response:
    """Answer a ticket for the token of this request."""
    services = request.config_dict[SERVICES]
    issued = await services.authenticator.issue(request)
    return json_response({"ticket": issued.ticket, "expires_in": issued.expires_in}, 201)


async def _start(
    request: web.Request, services: Services, recipient: Recipient
) -> tuple[StartKind, Cursor, str | None]:
    """Return how the stream begins, after which cursor, and the epoch of that if it is known."""
    hub = services.hub
    # The header wins: EventSource repeats its URL, with the cursor of its first connect.
    given = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    if given:
        start = cursor.parse(given, recipient.id)
        if start is None:
            return StartKind.UNKNOWN_CURSOR, _NOWHERE, hub.epoch
        return StartKind.CURSOR, start, cursor.epoch_of(given)
    if hub.everyone.subscribed:
        with contextlib.suppress(BrokerError, TimeoutError):
            return StartKind.FRESH, await services.start_positions.find(recipient), hub.epoch
    now = hub.settled or own_guess(time.time())
    return StartKind.FRESH, Cursor(now, now), hub.epoch


async def _run(
    stream: NotificationStream,
    id: str,
    services: Services,
    start: Cursor,
    epoch: str | None,
    how: StartKind,
) -> None:
    opened_at = time.monotonic()
    services.stats.opened[how] += 1
    whose = {"user": stream.recipient.id, "request": id}
    _log.info("stream opened", extra={"fields": {**whose, "start": how}})
    try:
        async with stream:
            await stream.run(services.inbox, services.heartbeat, start, epoch)
    finally:
        fields = {
            **whose,
            "reason": stream.ended,
            "seconds": round(time.monotonic() - opened_at, 3),
            "events": stream.events,
        }
        _log.info("stream closed", extra={"fields": fields})
