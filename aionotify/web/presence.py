"""Presence of users, and closing their streams; both need a publish key."""

from typing import Final

from aiohttp import web

from aionotify.errors import Forbidden, InvalidEvent
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES

_MAX_ASKED: Final = 1000


async def presence(request: web.Request) -> web.Response:
    """GET /presence?recipient_id=…&recipient_id=…: which users have a stream open."""
    holder = key_holder(request)
    asked = request.query.getall("recipient_id", [])
    if not 1 <= len(asked) <= _MAX_ASKED:
        raise InvalidEvent({"recipient_id": f"must be given 1 to {_MAX_ASKED} times"})
    for id in asked:
        if (problem := check_recipient(id)) is not None or id == EVERYONE:
            raise InvalidEvent({"recipient_id": problem or "must be a user id"})
        if not holder.may(id):
            raise Forbidden(f"this key is for recipients that begin with {holder.prefix!r}")
    return json_response(await request.config_dict[SERVICES].presence.online(asked))


async def close_streams(request: web.Request) -> web.Response:
    """DELETE /streams/{user_id}: close the user's streams on every node."""
    holder = key_holder(request)
    services = request.config_dict[SERVICES]
    user_id = request.match_info["user_id"]
    if (problem := check_recipient(user_id)) is not None or user_id == EVERYONE:
        raise InvalidEvent({"user_id": problem or "must be a user id"})
    if not holder.may(user_id):
        raise Forbidden(f"this key is for recipients that begin with {holder.prefix!r}")
    nodes = await services.control.revoke(user_id)
    return json_response({"nodes": nodes}, 202)
