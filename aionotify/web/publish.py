"""POST /publish: events over HTTP."""

import logging
from typing import Final

from aiohttp import hdrs, web

from aionotify import tasks
from aionotify.auth.credentials import bearer_token
from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.published import PartlyPublished, Published, decode_checked
from aionotify.errors import (
    BodyTooLarge,
    BrokerError,
    BrokerRefused,
    Forbidden,
    InvalidEvent,
    InvalidToken,
    UnsupportedCoding,
)
from aionotify.events.event import Event, split_batch
from aionotify.web.errors import error_response, json_response
from aionotify.web.publish_bytes import HeldBytes
from aionotify.web.request_id import request_id
from aionotify.web.services import SERVICES, Services
from aionotify.web.trace_context import traceparent

MAX_EVENTS: Final = 1000
_BODY_EVENTS: Final = 16  # events of the largest size per body; a thousand usual ones take less
_BODY_SECONDS: Final = 30
RECIPIENT_BYTES: Final = 1024  # for each recipient of an event: its id, result and answer, rounded

_log = logging.getLogger(__name__)


def key_holder(request: web.Request, right: str) -> KeyHolder:
    """Return the holder of the publish key in the request, who has the right to this.

    Raises:
        Forbidden: the key does not have the right, or no publish keys are configured.
        CredentialsMissing, InvalidScheme, InvalidToken: the request has no valid publish key.
    """
    keys = request.config_dict[SERVICES].terms.publish_keys
    if not keys:
        raise Forbidden("publishing over HTTP is off: admin.publish_keys is empty")
    holder = keys.match(bearer_token(request))
    if holder is None:
        raise InvalidToken("this is not a publish key")
    holder.check_right(right)
    return holder


async def publish(request: web.Request) -> web.Response:
    """Answer 202 once every event is stored, 503 if some may not be. An ephemeral one has only to
    be on its way to the nodes.
    """
    services = request.config_dict[SERVICES]
    holder = key_holder(request, "publish")
    with services.publish_bytes.request() as held:
        ephemeral = is_ephemeral(request)
        events, alone = await _events(
            request, services.terms.config.events.max_bytes, held, ephemeral=ephemeral
        )
        for event in events:
            check_recipients(event, holder)
        results = await services.publisher.publish_checked(events, ephemeral=ephemeral)
        count(services, results)
        log_stored(request, results)
        answers = [answer(result) for result in results]
        if any(isinstance(result, BrokerError) for result in results):
            return _unavailable(answers)
        return json_response(answers[0] if alone else answers, 202)


def is_ephemeral(request: web.Request) -> bool:
    """Raise InvalidEvent unless the query says in so many words which of the two it means."""
    text = request.query.get("ephemeral", "false")
    if text not in ("true", "false"):
        raise InvalidEvent({"ephemeral": 'in the query must be "true" or "false"'})
    return text == "true"


async def _events(
    request: web.Request, max_bytes: int, held: HeldBytes, *, ephemeral: bool
) -> tuple[list[Event], bool]:
    """Return the events of a request, and whether it has one alone, not in an array."""
    check_coding(request)
    body = await _body(request, max_bytes * _BODY_EVENTS, held)
    raw = split_batch(body, MAX_EVENTS)
    alone = len(raw) == 1 and not body.lstrip().startswith(b"[")
    events = _checked(raw, max_bytes, alone, ephemeral=ephemeral)
    held.add(RECIPIENT_BYTES * sum(len(event.receivers) for event in events))
    return events, alone


def _checked(raw: list[bytes], max_bytes: int, alone: bool, *, ephemeral: bool) -> list[Event]:
    """Return all events; raise InvalidEvent for the whole batch if any is invalid."""
    events = []
    fields: dict[str, str] = {}
    for index, message in enumerate(raw):
        try:
            events.append(decode_checked(message, max_bytes, ephemeral=ephemeral))
        except InvalidEvent as error:
            place = "" if alone else f"[{index}]."
            fields.update({f"{place}{name}": text for name, text in error.fields.items()})
    if fields:
        raise InvalidEvent(fields)
    return events


def check_recipients(event: Event, holder: KeyHolder) -> None:
    """Raise Forbidden for a recipient, or a group, that is none of the key holder's."""
    for receiver in (*event.recipients, *event.groups):
        holder.check_recipient(receiver)


def check_coding(request: web.Request) -> None:
    """Raise UnsupportedCoding for a compressed body: a megabyte of it can be a gigabyte."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip()
    if coding.lower() not in ("", "identity"):
        raise UnsupportedCoding(coding)


async def _body(request: web.Request, limit: int, held: HeldBytes) -> bytes:
    parts: list[bytes] = []
    size = 0

    def take(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        held.add(len(part))
        parts.append(part)

    try:
        if request.content.is_eof():  # it has come with the head: nothing is to be waited for
            take(request.content.read_nowait())
        else:
            async with tasks.timeout(_BODY_SECONDS):
                async for part in request.content.iter_any():
                    take(part)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:  # the body contradicts its headers; the error's text quotes it
        raise web.HTTPBadRequest from None
    return b"".join(parts)


def answer(result: Published | BrokerError) -> dict[str, object]:
    """Return what became of an event, for its producer."""
    if isinstance(result, PartlyPublished):
        return _answers(result)
    if isinstance(result, BrokerError):
        return {"error": {"code": "redis_unavailable", "message": str(result)}}
    told: dict[str, object] = {"event_id": result.event_id} if result.event_id else {}
    if result.online is not None:
        told["online"] = result.online
    return told | _answers(result)


def _answers(result: Published | PartlyPublished) -> dict[str, object]:
    """What became of an event for each of several receivers."""
    each = {"recipients": result.recipients, "groups": result.groups}
    return {
        name: {id: answer(result) for id, result in results.items()}
        for name, results in each.items()
        if results
    }


def _unavailable(answers: list[dict[str, object]]) -> web.Response:
    return error_response(
        503,
        "redis_unavailable",
        "some events were not stored; publish all of them again, each with the same `id`",
        headers={"Retry-After": "1"},
        results=answers,
    )


def log_stored(request: web.Request, results: list[Published | BrokerError]) -> None:
    """Log once where what a producer traces has become events, whose ids everybody else knows."""
    if (traced := traceparent(request)) is None:
        return
    stored = [each for each in results if isinstance(each, Published) and not each.repeated]
    if ids := " ".join(
        each.event_id for each in stored if each.event_id
    ):  # an ephemeral one has none
        fields = {"traceparent": traced, "request": request_id(request), "ids": ids}
        _log.info("events stored", extra={"fields": fields})


def count(services: Services, results: list[Published | BrokerError]) -> None:
    """Count events by what became of them."""
    for result in results:
        if isinstance(result, BrokerError):
            outcome = "refused" if isinstance(result, BrokerRefused) else "unavailable"
        else:
            outcome = (
                "repeated" if result.repeated else "stored" if result.event_id else "ephemeral"
            )
        services.stats.published[outcome] += 1
