"""DELETE /inbox/{event_id}: take an event back. It takes a key with the right `publish`."""

from aiohttp import web

from aionotify.broker.published import checked_event_id
from aionotify.errors import EventNotFound, InvalidEvent
from aionotify.events.event import EVERYONE
from aionotify.events.event_id import mark_of
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES


async def recall(request: web.Request) -> web.Response:
    """Take an event out of its inbox and tell open streams; answer 204, or 404 if it is not there.

    The mark in an event id tells whether it is of an inbox, and not of which one: so that is in the
    query, unless it is everyone's.
    """
    holder = key_holder(request, "publish")
    event_id = request.match_info["event_id"]
    recipient_id = request.query.get("recipient_id")
    if recipient_id is None:
        if not event_id.startswith(mark_of(EVERYONE) + "."):
            raise InvalidEvent({"recipient_id": "in the query is missing"})
        recipient_id = EVERYONE
    checked_event_id(event_id, recipient_id)
    holder.check_recipient(recipient_id)
    if not await request.config_dict[SERVICES].publisher.recall(event_id, recipient_id):
        raise EventNotFound("the event is not in this inbox, or not any more")
    return web.Response(status=204)
