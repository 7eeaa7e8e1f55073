"""POST /publish: events over HTTP."""

from typing import Final

from aiohttp import hdrs, web

from aionotify import tasks
from aionotify.auth.credentials import bearer_token
from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.publisher import PartlyPublished, Published, check_ephemeral
from aionotify.errors import (
    BodyTooLarge,
    BrokerError,
    BrokerRefused,
    Forbidden,
    InvalidEvent,
    InvalidToken,
    UnsupportedCoding,
)
from aionotify.events.event import Event, decode, split_batch
from aionotify.web.errors import error_response, json_response
from aionotify.web.publish_bytes import HeldBytes
from aionotify.web.services import SERVICES, Services

MAX_EVENTS: Final = 1000
_BODY_EVENTS: Final = 16  # events of the largest size per body; a thousand usual ones take less
_BODY_SECONDS: Final = 30
_RECIPIENT_BYTES: Final = 1024  # for each recipient of an event: its id, result and answer, rounded


def key_holder(request: web.Request) -> KeyHolder:
    """Return the holder of the publish key in the request.

    Raises:
        Forbidden: no publish keys are configured.
        CredentialsMissing, InvalidScheme, InvalidToken: the request has no valid publish key.
    """
    keys = request.config_dict[SERVICES].terms.publish_keys
    if not keys:
        raise Forbidden("publishing over HTTP is off: admin.publish_keys is empty")
    holder = keys.match(bearer_token(request))
    if holder is None:
        raise InvalidToken("this is not a publish key")
    return holder


async def publish(request: web.Request) -> web.Response:
    """Answer 202 once every event is stored, 503 if some may not be. An ephemeral one has only to
    be on its way to the nodes.
    """
    services = request.config_dict[SERVICES]
    holder = key_holder(request)
    with services.publish_bytes.request() as held:
        ephemeral = _is_ephemeral(request)
        events, alone = await _events(
            request, services.terms.config.events.max_bytes, held, ephemeral=ephemeral
        )
        for event in events:
            for recipient in event.recipients:
                if not holder.may(recipient):
                    raise Forbidden(f"this key is for recipients that begin with {holder.prefix!r}")
        results = await services.publisher.publish_checked(events, ephemeral=ephemeral)
        _count(services, results)
        answers = [_answer(result) for result in results]
        if any(isinstance(result, BrokerError) for result in results):
            return _unavailable(answers)
        return json_response(answers[0] if alone else answers, 202)


def _is_ephemeral(request: web.Request) -> bool:
    """Raise InvalidEvent unless the query says in so many words which of the two it means."""
    text = request.query.get("ephemeral", "false")
    if text not in ("true", "false"):
        raise InvalidEvent({"ephemeral": 'in the query must be "true" or "false"'})
    return text == "true"


async def _events(
    request: web.Request, max_bytes: int, held: HeldBytes, *, ephemeral: bool
) -> tuple[list[Event], bool]:
    """Return the events of a request, and whether it has one alone, not in an array."""
    _check_coding(request)
    body = await _body(request, max_bytes * _BODY_EVENTS, held)
    raw = split_batch(body, MAX_EVENTS)
    alone = len(raw) == 1 and not body.lstrip().startswith(b"[")
    events = _checked(raw, max_bytes, alone, ephemeral=ephemeral)
    held.add(_RECIPIENT_BYTES * sum(len(event.recipients) for event in events))
    return events, alone


def _checked(raw: list[bytes], max_bytes: int, alone: bool, *, ephemeral: bool) -> list[Event]:
    """Return all events; raise InvalidEvent for the whole batch if any is invalid."""
    events = []
    fields: dict[str, str] = {}
    for index, message in enumerate(raw):
        try:
            event = decode(message, max_bytes)
            if ephemeral:
                check_ephemeral(event)
            events.append(event)
        except InvalidEvent as error:
            place = "" if alone else f"[{index}]."
            fields.update({f"{place}{name}": text for name, text in error.fields.items()})
    if fields:
        raise InvalidEvent(fields)
    return events


def _check_coding(request: web.Request) -> None:
    """Raise UnsupportedCoding for a compressed body: a megabyte of it can be a gigabyte."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING, "").strip()
    if coding.lower() not in ("", "identity"):
        raise UnsupportedCoding(coding)


async def _body(request: web.Request, limit: int, held: HeldBytes) -> bytes:
    parts, size = [], 0
    try:
        async with tasks.timeout(_BODY_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(limit)
                held.add(len(part))
                parts.append(part)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except web.RequestPayloadError:  # the body contradicts its headers; the error's text quotes it
        raise web.HTTPBadRequest from None
    return b"".join(parts)


def _answer(result: Published | BrokerError) -> dict[str, object]:
    if isinstance(result, PartlyPublished):
        return {"recipients": {id: _answer(each) for id, each in result.recipients.items()}}
    if isinstance(result, BrokerError):
        return {"error": {"code": "redis_unavailable", "message": str(result)}}
    answer: dict[str, object] = {"id": result.id} if result.id else {}
    answer["online"] = result.online
    if result.recipients:
        answer["recipients"] = {id: _answer(each) for id, each in result.recipients.items()}
    return answer


def _unavailable(answers: list[dict[str, object]]) -> web.Response:
    return error_response(
        503,
        "redis_unavailable",
        "some events were not stored; publish all of them again, each with the same `id`",
        headers={"Retry-After": "1"},
        results=answers,
    )


def _count(services: Services, results: list[Published | BrokerError]) -> None:
    for result in results:
        if isinstance(result, BrokerError):
            outcome = "refused" if isinstance(result, BrokerRefused) else "unavailable"
        else:
            outcome = "repeated" if result.repeated else "stored" if result.id else "ephemeral"
        services.stats.published[outcome] += 1
