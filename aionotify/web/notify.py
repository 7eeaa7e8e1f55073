"""GET /notify: the stream; POST /notify/ticket, for clients that cannot send a header."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from aionotify import tasks
from aionotify.auth.middleware import IDENTITY
from aionotify.broker.read_marks import members
from aionotify.errors import BrokerError, InvalidToken
from aionotify.events import cursor
from aionotify.events.cursor import Cursor
from aionotify.events.position import BEGINNING, NOWHERE, own_guess
from aionotify.streams.memberships import check_asked
from aionotify.streams.reasons import StartKind
from aionotify.streams.recipient import Group, Recipient, Shard, shards_of
from aionotify.streams.response import HEADERS, NotificationResponse
from aionotify.streams.stream import Stream
from aionotify.web import inbox as lists
from aionotify.web.errors import json_response
from aionotify.web.open_stream import OpenStream
from aionotify.web.request_id import HEADER, request_id
from aionotify.web.services import SERVICES, Services

_ANSWER: Final = 1.0  # seconds for what a stream is to tell that it can do without
# EventSource polyfills send no header, but `lastEventId`; clients of Mercure send `lastEventID`.
_CURSOR_PARAMETERS: Final = ("last_event_id", "lastEventId", "lastEventID")


@web.middleware
async def unless_closed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer as a stream that says when to come back and ends, if this node takes no streams, or
    cannot learn just now which groups the user was put in.

    For EventSource and many other clients any status but 200 is final. Without an event in it, the
    answer says nothing of a position, so clients keep the one that they have. Without a blank line
    nobody takes it for an event.
    """
    services = request.config_dict[SERVICES]
    if not services.hub.closed:
        with contextlib.suppress(BrokerError):
            return await handler(request)
    return web.Response(body=services.terms.stream.come_back(), headers=HEADERS)


async def notify(request: web.Request) -> web.StreamResponse:
    """Stream the user's events until either side ends it."""
    services = request.config_dict[SERVICES]
    identity, id = request[IDENTITY], request_id(request)
    rounds = services.revalidation.rounds
    asked = request.query.getall("groups", ())
    recipient = services.hub.enter(identity.user_id)
    groups: tuple[Group, ...] = ()
    try:
        revocations = recipient.revocations
        await services.memberships.learn(recipient.id)
        part = frozenset(asked) or None  # of the groups, for as long as the stream lives
        chosen = services.memberships.choose(recipient.id, identity.groups, part)
        check_asked(asked, chosen)
        groups = services.hub.enter_groups(chosen)
        how, start, epoch, fresh = await _start(request, services, recipient, shards_of(groups))
        more, marks = {}, None
        if _is_asked_for(request, "unread"):
            more, marks = (
                await _unread(services, recipient.id),
                partial(_marks, services, recipient.id),
            )
        if recipient.revocations != revocations:  # before there was a stream to close
            raise InvalidToken("the user's streams are being closed")
        settings, cors = services.terms.stream, services.terms.config.cors
        headers = {**services.cors.headers(request, cors), HEADER: id}
        # Before the response is prepared, which an application's handlers may take long for: what
        # is revoked or lost meanwhile is revoked for this stream, too.
        stream = Stream(
            settings,
            services.hub,
            recipient,
            services.inbox,
            services.heartbeat,
            start=start,
            epoch=epoch,
            groups=groups,
            fresh=fresh,
            marks=marks,
        )
        response = NotificationResponse(settings.send_timeout, headers)
        if services.hub.draining:
            response.force_close()
        await response.prepare(request)
        # The head is still waiting for this: one system call, one packet, one wake-up.
        await response.write(stream.opening(**more))
        slot = OpenStream(services, request, id)
    except BaseException:
        services.hub.leave(recipient)
        services.hub.leave_groups(groups)
        services.memberships.left(recipient.id)
        raise
    at_once = services.revalidation.rounds != rounds
    slot.begins(stream, identity, how, asked=part, groups=chosen, at_once=at_once)
    hand_over = settings.hand_over and not slot.keeps_request
    await response.serve(request, stream, slot.ended, may_hand_over=hand_over)
    return response


async def notify_head(request: web.Request) -> web.Response:
    """Answer the headers of GET, without a stream; takes no slot."""
    return web.Response(headers=HEADERS)


async def ticket(request: web.Request) -> web.Response:
    """Answer a ticket for the token of this request."""
    services = request.config_dict[SERVICES]
    issued = await services.authenticator.issue(request)
    return json_response({"ticket": issued.ticket, "expires_in": issued.expires_in}, 201)


async def _start(
    request: web.Request, services: Services, recipient: Recipient, shards: Sequence[Shard]
) -> tuple[StartKind, Cursor, str | None, Sequence[Shard]]:
    """Return how the stream begins, after which cursor, the epoch of that if it is known, and the
    shards in which it begins now.
    """
    hub, unknown = services.hub, False
    for given in _cursors(request):
        start = cursor.parse(given, recipient.id)
        if start is not None:
            fresh = [shard for shard in shards if start[shard.place] == NOWHERE]
            if fresh:
                now = await _now(services, fresh)
                for shard in fresh:
                    start = start.moved(shard.place, now[shard.place])
            return StartKind.CURSOR, start, cursor.epoch_of(given), fresh
        unknown = True
    if unknown:
        return StartKind.UNKNOWN_CURSOR, _nowhere(shards), hub.epoch, ()
    now = await _now(services, (hub.everyone, recipient, *shards))
    return StartKind.FRESH, now, hub.epoch, shards


async def _now(services: Services, inboxes: Sequence[Recipient]) -> Cursor:
    """Return where a stream of these begins just now."""
    hub = services.hub
    if hub.everyone.subscribed:
        with contextlib.suppress(BrokerError, TimeoutError):
            return await services.start_positions.find(inboxes)
    now = hub.settled or own_guess(time.time())
    return Cursor(*[now] * cursor.PLACES)


def _nowhere(shards: Sequence[Shard]) -> Cursor:
    """Return where nobody ever was, which is told as a gap, and all that is kept follows."""
    at = Cursor(NOWHERE, NOWHERE)
    for shard in shards:
        at = at.moved(shard.place, BEGINNING)  # where 0 is to begin with what comes
    return at


def _is_asked_for(request: web.Request, name: str) -> bool:
    return request.query.get(name, "false") in ("", "true")


async def _unread(services: Services, user_id: str) -> dict[str, float]:
    """What a stream begins by telling of that; nothing while Redis cannot be asked."""
    try:
        async with tasks.timeout(_ANSWER):
            return {"unread": await lists.unread(services, user_id)}
    except (BrokerError, TimeoutError):
        return {}


async def _marks(services: Services, user_id: str) -> list[dict[str, Any]]:
    found = await lists.marks(services, user_id)
    return [members(mark, each) for mark, each in found.items()]


def _cursors(request: web.Request) -> Iterator[str]:
    """Yield what the client sends as its position, what counts most first.

    The header wins: EventSource repeats its URL, with the cursor of its first connect. A client
    that adds its position to a URL that has one already adds it at the end.
    """
    yield from filter(None, request.headers.getall("Last-Event-ID", ()))
    for name in _CURSOR_PARAMETERS:
        yield from filter(None, reversed(request.query.getall(name, ())))
