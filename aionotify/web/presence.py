"""GET /presence: which users have a stream open. It takes a key with the right `presence`."""

import re
from typing import Final

from aiohttp import web

from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.control import Listing
from aionotify.errors import InvalidEvent
from aionotify.events.event import EVERYONE, check_recipient
from aionotify.web import users_online
from aionotify.web.errors import json_response
from aionotify.web.publish import key_holder
from aionotify.web.services import SERVICES

_MAX_ASKED: Final = 1000
_MAX_LISTED: Final = 1000
_LISTED: Final = 100  # if nobody says how many
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_PARAMETERS: Final = {"prefix", "limit", "cursor"}


async def presence(request: web.Request) -> web.Response:
    """GET /presence: which of the users asked about have a stream open, or who has, in pages."""
    holder = key_holder(request, "presence")
    asked = request.query.getall("recipient_id", [])
    if not asked:
        return await listed(request, holder)
    if len(asked) > _MAX_ASKED:
        raise InvalidEvent({"recipient_id": f"must be given no more than {_MAX_ASKED} times"})
    for id in asked:
        if (problem := check_recipient(id)) is not None or id == EVERYONE:
            raise InvalidEvent({"recipient_id": problem or "must be a user id"})
        holder.check_recipient(id)
    return json_response(await request.config_dict[SERVICES].presence.online(asked))


async def listed(request: web.Request, holder: KeyHolder) -> web.Response:
    """Answer with a page of the users who have a stream open, of those that the key is for."""
    query, problems = request.query, {}
    for name in query:
        if name not in _PARAMETERS:
            problems[name] = "is not known here"
        elif len(query.getall(name)) > 1:
            problems[name] = "must be given once"
    limit, cursor = query.get("limit", str(_LISTED)), query.get("cursor")
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= _MAX_LISTED:
        problems["limit"] = f"must be a whole number from 1 to {_MAX_LISTED}"
    if cursor is not None and (problem := check_recipient(cursor)) is not None:
        problems["cursor"] = problem
    prefix = query.get("prefix", holder.prefix)
    if prefix and (problem := check_recipient(prefix)) is not None:
        problems["prefix"] = problem
    if problems:
        raise InvalidEvent(problems)
    holder.check_recipient(prefix)
    listing = Listing(int(limit), cursor or "", counts=cursor is None)
    inspection = request.config_dict[SERVICES].inspection
    return json_response(await users_online.page(inspection, prefix, listing))
