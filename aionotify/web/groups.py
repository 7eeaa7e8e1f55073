"""PUT and DELETE /groups/{group}/members/{user_id}: who belongs to a group while streams are open.

It takes a key with the right `groups`, for the user and for the group.
"""

from typing import Final

from aiohttp import web

from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.memberships import GRANTED
from aionotify.errors import GroupGranted, InvalidEvent, MembershipsOff, NotAMember
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.revocation import check_user
from aionotify.web.services import SERVICES, Services

_MOST_SHOWN: Final = 1000  # members in one answer


async def put_member(request: web.Request) -> web.Response:
    """PUT /groups/{group}/members/{user_id}: put a user in a group; 204 also if they are in it."""
    services, group, user_id = _checked(request)
    await services.membership_store.put(user_id, group)
    return web.Response(status=204)


async def remove_member(request: web.Request) -> web.Response:
    """DELETE /groups/{group}/members/{user_id}: take out a user who was put in.

    204 once the connected nodes have acted on it; 404 if they were not put in, and 409 if the token
    of an open stream grants the group, so that they are in it still.
    """
    services, group, user_id = _checked(request)
    changed, answers = await services.membership_store.remove(user_id, group)
    if GRANTED in answers.answers:
        undone = "what PUT gave has been taken away, but" if changed else "PUT gave nothing, and"
        raise GroupGranted(f"{undone} the token of an open stream grants the user the group")
    if not changed:
        raise NotAMember("the user was not put in the group")
    return web.Response(status=204)


async def members(request: web.Request) -> web.Response:
    """GET /groups/{group}/members?limit=…&after=…: the users who were put in a group."""
    services, holder, group = _group(request)
    limit = _limit(request.query.get("limit", str(_MOST_SHOWN)))
    after = request.query.get("after", "")
    if after:
        check_user(holder, after)
    found = await services.membership_store.members(
        group, prefix=holder.prefix, after=after, at_most=limit + 1
    )
    more = len(found) > limit
    return json_response({"members": found[:limit], "next": found[limit - 1] if more else None})


def _checked(request: web.Request) -> tuple[Services, str, str]:
    services, holder, group = _group(request)
    user_id = request.match_info["user_id"]
    check_user(holder, user_id)
    return services, group, user_id


def _group(request: web.Request) -> tuple[Services, KeyHolder, str]:
    """Return the group that a request is about, once it is known that it may be."""
    services, holder = request.config_dict[SERVICES], key_holder(request, "groups")
    group = request.match_info["group"]
    if (problem := check_recipient(group)) is not None or group == EVERYONE:
        raise InvalidEvent({"group": problem or "must be the name of a group"})
    # Or whoever may send to some users could have them hear what is for others.
    holder.check_recipient(group)
    if not services.terms.config.groups.memberships:
        raise MembershipsOff("nobody can be put in a group: groups.memberships is off")
    return services, holder, group


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= limit <= _MOST_SHOWN:
        raise InvalidEvent({"limit": f"must be a number from 1 to {_MOST_SHOWN}"})
    return limit
