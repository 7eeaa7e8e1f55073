"""DELETE /streams: end what a user may hear. It takes a key with the right `revoke`."""

from aiohttp import hdrs, web

from aionotify.auth.publish_keys import KeyHolder
from aionotify.errors import InvalidEvent, ToldNotKept
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import error_response, json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES


async def close_streams(request: web.Request) -> web.Response:
    """DELETE /streams/{user_id}: close the user's streams on every node."""
    holder = key_holder(request, "revoke")
    user_id = request.match_info["user_id"]
    check_user(holder, user_id)
    return await revoke(request, user_id)


def check_user(holder: KeyHolder, user_id: str, name: str = "user_id") -> None:
    """Raise InvalidEvent if it is no user's id, Forbidden if it is not for the holder's key."""
    if (problem := check_recipient(user_id)) is not None or user_id == EVERYONE:
        raise InvalidEvent({name: problem or "must be a user id"})
    holder.check_recipient(user_id)


async def revoke(request: web.Request, user_id: str) -> web.Response:
    """Close the user's streams on every node; answer how many were told."""
    try:
        nodes = await request.config_dict[SERVICES].control.revoke(user_id)
    except ToldNotKept as error:
        message = (
            f"{error.nodes} connected nodes were told, but Redis keeps nothing for those that are"
            " not connected just now: repeat the request"
        )
        headers: dict[str, str] = {hdrs.RETRY_AFTER: "1"}
        return error_response(503, "redis_unavailable", message, headers=headers, nodes=error.nodes)
    return json_response({"nodes": nodes}, 202)
