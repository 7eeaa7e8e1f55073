"""DELETE /streams: end what a user may hear. It takes a publish key."""

from aiohttp import web

from aionotify.errors import Forbidden, InvalidEvent
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES


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
