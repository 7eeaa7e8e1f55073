"""DELETE /streams: end what a user may hear. It takes a key with the right `revoke`."""

from aiohttp import hdrs, web

from aionotify.errors import InvalidEvent, ToldNotKept
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import error_response, json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES


async def close_streams(request: web.Request) -> web.Response:
    """DELETE /streams/{user_id}: close the user's streams on every node."""
    holder = key_holder(request, "revoke")
    services = request.config_dict[SERVICES]
    user_id = request.match_info["user_id"]
    if (problem := check_recipient(user_id)) is not None or user_id == EVERYONE:
        raise InvalidEvent({"user_id": problem or "must be a user id"})
    holder.check_recipient(user_id)
    try:
        nodes = await services.control.revoke(user_id)
    except ToldNotKept as error:
        message = (
            f"{error.nodes} connected nodes were told, but Redis keeps nothing for those that are"
            " not connected just now: repeat the request"
        )
        headers: dict[str, str] = {hdrs.RETRY_AFTER: "1"}
        return error_response(503, "redis_unavailable", message, headers=headers, nodes=error.nodes)
    return json_response({"nodes": nodes}, 202)
