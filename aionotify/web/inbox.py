"""GET /inbox: what the user was told, as a list; PUT /inbox/read: what of it is read.

A list is of several inboxes, which `_inboxes` names; all else here goes by their marks.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from typing import Any, Final

import msgspec
from aiohttp import ETag, hdrs, web

from aionotify import tasks
from aionotify.auth.middleware import IDENTITY
from aionotify.broker.read_marks import Marking, Marks, parse
from aionotify.errors import BodyTooLarge, InvalidEvent
from aionotify.events import cursor, event_id
from aionotify.events.cursor import Cursor
from aionotify.events.event import EVERYONE, MAX_NAME_CHARS
from aionotify.events.event_id import EventId, mark_of
from aionotify.events.listing import DEFAULT_TYPE, Listed, ListPage, Query
from aionotify.events.position import (
    NOWHERE,
    Place,
    aged,
    bound_after,
    bound_before,
    is_event,
    is_possible,
)
from aionotify.web.errors import json_response
from aionotify.web.publish import check_coding, key_holder
from aionotify.web.revocation import check_user
from aionotify.web.services import SERVICES, Services

_LIMIT: Final = 50
_MAX_LIMIT: Final = 100
_MAX_TYPES: Final = 20
_MAX_IDS: Final = 100
_BODY_BYTES: Final = 65_536
_BODY_SECONDS: Final = 30
_FRESH_PARTS: Final = 8  # of the retention: an answer is another one when its cursor is older
_HEADERS: Final[Mapping[str, str]] = {hdrs.CACHE_CONTROL: "private, no-cache"}
_NUMBER: Final = re.compile(r"[0-9]{1,3}", re.ASCII)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    upto: str | None = None
    ids: list[str] = []


_decode = msgspec.json.Decoder(_Body).decode


async def inbox(request: web.Request) -> web.Response:
    """Answer with the user's own list."""
    return await answer(request, request[IDENTITY].user_id)


async def inbox_of(request: web.Request) -> web.Response:
    """Answer with the list of ``recipient_id``, to a key with the right `read`."""
    holder = key_holder(request, "read")
    [user_id] = _given(request, "recipient_id") or [""]
    check_user(holder, user_id, "recipient_id")
    return await answer(request, user_id)


async def read(request: web.Request) -> web.Response:
    """Mark events of the user's as read; answer how many are not."""
    services, user_id = request.config_dict[SERVICES], request[IDENTITY].user_id
    inboxes = _inboxes(user_id)
    markings = _markings(user_id, inboxes, _decoded(await _body(request)))
    newest = services.hub.everyone.newest or NOWHERE
    if not await services.read_marks.mark(user_id, newest, markings):
        raise InvalidEvent({"body": "names a place that is in the future"})
    kept = await services.read_marks.of(user_id, inboxes)
    return json_response(
        {"unread": await services.read_marks.unread(inboxes, kept)}, headers=_HEADERS
    )


async def unread(services: Services, user_id: str) -> int:
    """How many events are not marked as read, of all that the user was told."""
    inboxes = _inboxes(user_id)
    return await services.read_marks.unread(inboxes, await services.read_marks.of(user_id, inboxes))


async def marks(services: Services, user_id: str) -> dict[str, Marks]:
    """What the user has read, by the marks of inboxes; without those of which nothing is."""
    kept = await services.read_marks.of(user_id, _inboxes(user_id))
    found = {mark: parse(each) for mark, each in kept.items()}
    return {mark: each for mark, each in found.items() if each.upto or each.others}


async def answer(request: web.Request, user_id: str) -> web.Response:
    """Answer with a page of a user's list."""
    services, inboxes = request.config_dict[SERVICES], _inboxes(user_id)
    query = _query(request, user_id, inboxes)
    # Both as they were before: what a cursor says must not be newer than what is listed.
    epoch, settled = services.data_set.epoch, services.data_set.settled
    page = await services.history.page(inboxes, query)
    kept = await services.read_marks.of(user_id, inboxes)
    unread = await services.read_marks.unread(inboxes, kept)
    known = {mark: parse(each) for mark, each in kept.items()}
    listed: dict[str, Any] = {
        "events": [_event(each, known[each.id.mark]) for each in page.events],
        "unread": unread,
        "next": None if page.next is None else str(page.next),
    }
    retention = services.data_set.retention
    at = None if query.before else _at(page, query, settled, retention)
    shown = at and _cursor(at, user_id, epoch)
    tag = _tag(listed, user_id, epoch, at, retention)
    if any(each.value in (tag.value, "*") for each in request.if_none_match or ()):
        response = web.Response(status=304, headers=_HEADERS)
    else:
        response = json_response({**listed, "cursor": shown}, headers=_HEADERS)
    response.etag = tag
    return response


def _inboxes(user_id: str) -> tuple[str, ...]:
    """Whose inboxes the list of a user is of; that of everyone's events is the first."""
    return EVERYONE, user_id


def _event(listed: Listed, marks: Marks) -> dict[str, Any]:
    recipient_id, id, event = listed
    return {
        "event_id": str(id),
        "time": id.position / 1_000_000,
        "read": marks.has(id.position),
        "event": event.type or DEFAULT_TYPE,
        "data": msgspec.Raw(event.data(recipient_id)),
    }


# --- cursors and tags -----------------------------------------------------------------------------


def _at(page: ListPage, query: Query, settled: int, retention: float) -> dict[str, int]:
    """From where to stream what is not listed: by the mark of each inbox, the position there."""
    if not query.newest_first and page.next is not None:
        return page.reached
    # As the hub has it: at the end of its inbox, what is settled is as good as an old position.
    oldest = aged(settled, retention)
    return {mark: settled if at < oldest else at for mark, at in page.reached.items()}


def _cursor(at: Mapping[str, int], user_id: str, epoch: str | None) -> str:
    everyone, own = at[mark_of(EVERYONE)], at[mark_of(user_id)]
    head = cursor.everyone_part(epoch, everyone)
    return (head + cursor.own_part(own, cursor.tag(user_id))).decode()


def _tag(
    listed: Mapping[str, Any],
    user_id: str,
    epoch: str | None,
    at: Mapping[str, int] | None,
    retention: float,
) -> ETag:
    """The same for as long as what is listed is, and its cursor good enough: so it is weak."""
    span = max(1, int(retention * 1_000_000 / _FRESH_PARTS))
    ages = {mark: each if is_event(each) else each // span for mark, each in (at or {}).items()}
    text = msgspec.json.encode([listed, user_id, epoch, ages])
    return ETag(blake2s(text, digest_size=12).hexdigest(), is_weak=True)


# --- what is asked for ----------------------------------------------------------------------------


def _query(request: web.Request, user_id: str, inboxes: Sequence[str]) -> Query:
    fields: dict[str, str] = {}
    marks = list(map(mark_of, inboxes))
    [order] = _given(request, "order") or ["newest"]
    if order not in ("newest", "oldest"):
        fields["order"] = 'must be "newest" or "oldest"'
    [text] = _given(request, "limit") or [str(_LIMIT)]
    limit = int(text) if _NUMBER.fullmatch(text) else 0
    if not 1 <= limit <= _MAX_LIMIT:
        fields["limit"] = f"must be 1 to {_MAX_LIMIT}"
    types = request.query.getall("event", [])
    if len(types) > _MAX_TYPES or not all(1 <= len(each) <= MAX_NAME_CHARS for each in types):
        fields["event"] = (
            f"must be at most {_MAX_TYPES} types of 1 to {MAX_NAME_CHARS} characters each"
        )
    bounds: dict[str, dict[str, int]] = {"after": {}, "before": {}}
    for name, found in bounds.items():
        for text in _given(request, name):
            try:
                found.update(_bounds(name, text, user_id, marks))
            except InvalidEvent as error:
                fields.update(error.fields)
    if fields:
        raise InvalidEvent(fields)
    return Query(limit, order == "newest", bounds["after"], bounds["before"], frozenset(types))


def _given(request: web.Request, name: str) -> list[str]:
    """Return a parameter of the query, which may be given once."""
    given = request.query.getall(name, [])
    if len(given) > 1:
        raise InvalidEvent({name: "is given more than once"})
    return given


def _bounds(name: str, text: str, user_id: str, marks: Sequence[str]) -> dict[str, int]:
    """Between which positions of each inbox events are that are before, or after, a place.

    Before a cursor is what a client had that was there, with the event that it came with.
    """
    place = _place(name, text, user_id, marks)
    if isinstance(place, Place):
        bound = bound_before if name == "before" else bound_after
        return {mark: bound(place, mark) for mark in marks}
    more = 1 if name == "before" else 0
    return {mark: at + more for mark, at in _positions(place, marks).items()}


def _place(name: str, text: str, user_id: str, marks: Sequence[str]) -> Place | Cursor:
    """Raise InvalidEvent for what is neither an event id of the user's nor a cursor."""
    found = event_id.parse(text)
    if found is not None:
        mark, position = _own(name, found, marks)
        return Place(position, mark)
    at = cursor.parse(text, user_id)
    if at is None or not all(each == 0 or is_possible(each) for each in at):
        raise InvalidEvent({name: "is neither an event_id nor a cursor of this user's"})
    return at


def _own(name: str, id: EventId | None, marks: Sequence[str]) -> EventId:
    if id is None or id.mark not in marks or not is_possible(id.position):
        raise InvalidEvent({name: "is not the event_id of an event of this user's"})
    return id


def _positions(at: Cursor, marks: Sequence[str]) -> dict[str, int]:
    """Those of a cursor in the inboxes of a list, which are not those of groups."""
    return dict(zip(marks, (at.everyone, at.own), strict=True))


# --- what is to be marked -------------------------------------------------------------------------


async def _body(request: web.Request) -> bytes:
    check_coding(request)
    parts: list[bytes] = []
    try:
        async with tasks.timeout(_BODY_SECONDS):
            async for part in request.content.iter_any():
                parts.append(part)
                if sum(map(len, parts)) > _BODY_BYTES:
                    raise BodyTooLarge(_BODY_BYTES)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:  # the body contradicts its headers; the error's text quotes it
        raise web.HTTPBadRequest from None
    return b"".join(parts)


def _decoded(body: bytes) -> _Body:
    try:
        body.decode()  # msgspec does not look into strings that it skips
        found = _decode(body)
    except msgspec.ValidationError:
        text = "must be an object with a string as upto, or a list of strings as ids"
        raise InvalidEvent({"body": text}) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent({"body": "is not JSON"}) from None
    if found.upto is None and not found.ids:
        raise InvalidEvent({"body": "must have upto or ids"})
    if len(found.ids) > _MAX_IDS:
        raise InvalidEvent({"ids": f"must hold 1 to {_MAX_IDS}, not {len(found.ids)}"})
    return found


def _markings(user_id: str, inboxes: Sequence[str], body: _Body) -> dict[str, Marking]:
    marks = list(map(mark_of, inboxes))
    others: dict[str, list[int]] = {mark: [] for mark in marks}
    for index, text in enumerate(body.ids):
        id = _own(f"ids[{index}]", event_id.parse(text), marks)
        others[id.mark].append(id.position)
    uptos: dict[str, int] = {}
    if body.upto is not None:
        place = _place("upto", body.upto, user_id, marks)
        if isinstance(place, Place):
            uptos = {mark: bound_before(place, mark) - (mark != place.mark) for mark in marks}
        else:
            uptos = _positions(place, marks)
    return {
        mark: Marking(uptos.get(mark), others[mark])
        for mark in marks
        if mark in uptos or others[mark]
    }
