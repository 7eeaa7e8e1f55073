"""GET /presence: which users have a stream open. It takes a key with the right `presence`."""

from typing import Final

from aiohttp import web

from aionotify.errors import InvalidEvent
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES

_MAX_ASKED: Final = 1000


async def presence(request: web.Request) -> web.Response:
    """GET /presence?recipient_id=…&recipient_id=…: which users have a stream open."""
    holder = key_holder(request, "presence")
    asked = request.query.getall("recipient_id", [])
    if not 1 <= len(asked) <= _MAX_ASKED:
        raise InvalidEvent({"recipient_id": f"must be given 1 to {_MAX_ASKED} times"})
    for id in asked:
        if (problem := check_recipient(id)) is not None or id == EVERYONE:
            raise InvalidEvent({"recipient_id": problem or "must be a user id"})
        holder.check_recipient(id)
    return json_response(await request.config_dict[SERVICES].presence.online(asked))
