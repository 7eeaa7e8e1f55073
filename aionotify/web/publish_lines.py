"""POST /publish for a producer that keeps its request open: an event a line, and an answer a line.

What has come is published and answered, then more is read. So what is under way is bounded by what
one read brings, and the connection slows down a producer that is faster than Redis. A read may
bring lines for a hundred thousand recipients, so they are taken in portions.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Final

from aiohttp import hdrs, web

from aionotify import tasks
from aionotify.auth.publish_keys import KeyHolder
from aionotify.broker.published import PartlyPublished, Published, decode_checked, merge, valid
from aionotify.errors import (
    AionotifyError,
    Forbidden,
    InvalidEvent,
    PublishOverloaded,
    RequestError,
)
from aionotify.events.event import Event
from aionotify.portions import portions
from aionotify.web import publish
from aionotify.web.errors import json_lines
from aionotify.web.publish_bytes import HeldBytes
from aionotify.web.publish_streams import NodeLeaves
from aionotify.web.request_id import HEADER, request_id
from aionotify.web.services import SERVICES

NDJSON: Final = "application/x-ndjson"
_ANSWER_SECONDS: Final = 30  # that answers may remain unread
_RECIPIENTS: Final = 4000  # of events that are published together; as fast as more at a time
_HEADERS: Final = {
    hdrs.CONTENT_TYPE: NDJSON,
    hdrs.CACHE_CONTROL: "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx
}

_Checked = Event | InvalidEvent | Forbidden

_log = logging.getLogger(__name__)


async def publish_either(request: web.Request) -> web.StreamResponse:
    """Answer line by line whoever accepts that, and everybody else at the end of the body."""
    if NDJSON not in request.headers.get(hdrs.ACCEPT, "").lower():
        return await publish.publish(request)
    return await _publish_lines(request)


async def _publish_lines(request: web.Request) -> web.StreamResponse:
    services = request.config_dict[SERVICES]
    publish.key_holder(request, "publish")  # refuses in the answer's head who has no key
    ephemeral = publish.is_ephemeral(request)
    publish.check_coding(request)
    answers = web.StreamResponse(headers={**_HEADERS, HEADER: request_id(request)})
    with services.publish_bytes.request() as held:
        lines = _Lines(services.terms.config.events.max_bytes)
        held.add(lines.most_bytes)
        await answers.prepare(request)
        try:
            last = await _publish_all(request, held, answers, lines, ephemeral=ephemeral)
            await _write(answers, last, end=True)
        except ConnectionError:
            pass  # the producer is gone, and publishes again what was not answered
        except TimeoutError:
            _log.warning(
                "answers to a producer not read", extra={"fields": {"request": request_id(request)}}
            )
            if request.transport is not None:
                request.transport.abort()
        else:
            if not request.content.at_eof():
                request.protocol.force_close()  # or aiohttp would read on
    return answers


async def _publish_all(
    request: web.Request,
    held: HeldBytes,
    answers: web.StreamResponse,
    lines: "_Lines",
    *,
    ephemeral: bool,
) -> list[dict[str, object]]:
    """Publish and answer line by line until the body or the node ends, or the key is none any more.

    Returns what is still to be answered then.
    """
    services = request.config_dict[SERVICES]
    try:
        with services.publish_streams.reading(request.content):
            async for part in request.content.iter_any():
                await _publish(request, held, answers, lines.of(part), ephemeral=ephemeral)
            await _publish(request, held, answers, lines.rest(), ephemeral=ephemeral)
    except NodeLeaves:
        pass
    except RequestError as error:
        services.stats.refused[error.code] += 1
        return [_error(error.status, error.code, error.message)]
    except web.RequestPayloadError:  # the body contradicts its headers; the text quotes it
        return [_error(400, "bad_request", "the body is not what its headers announce")]
    return []


async def _publish(
    request: web.Request,
    held: HeldBytes,
    answers: web.StreamResponse,
    lines: Iterable[bytes | None],
    *,
    ephemeral: bool,
) -> None:
    """Publish the event of each line, and answer it; None stands for one that was too long."""
    services = request.config_dict[SERVICES]
    checked = _checked(request, lines, ephemeral=ephemeral)
    for some in portions(checked, _RECIPIENTS, _size, _RECIPIENTS):
        events = valid(some)
        try:
            with held.also(publish.RECIPIENT_BYTES * sum(map(_size, events))):
                published = await services.publisher.publish_checked(events, ephemeral=ephemeral)
                publish.count(services, published)
                publish.log_stored(request, published)
                await _write(answers, [_answer(result) for result in merge(some, published)])
        except PublishOverloaded as error:
            services.stats.refused[error.code] += 1
            refused = [error if isinstance(each, Event) else each for each in some]
            await _write(answers, [_answer(result) for result in refused])


def _checked(
    request: web.Request, lines: Iterable[bytes | None], *, ephemeral: bool
) -> Iterator[_Checked]:
    """The event of each line, or what is wrong with it.

    Raises what `publish.key_holder` raises: a reload may have taken the key away since the request
    began, or its right.
    """
    max_bytes = request.config_dict[SERVICES].terms.config.events.max_bytes
    holder: KeyHolder | None = None
    for line in lines:
        holder = holder or publish.key_holder(request, "publish")
        try:
            if line is None:
                raise InvalidEvent({"body": f"is longer than {max_bytes} bytes"})
            event = decode_checked(line, max_bytes, ephemeral=ephemeral)
            publish.check_recipients(event, holder)
            yield event
        except (InvalidEvent, Forbidden) as error:
            yield error


def _size(checked: _Checked) -> int:
    return len(checked.receivers) if isinstance(checked, Event) else 1


async def _write(
    answers: web.StreamResponse, values: list[dict[str, object]], *, end: bool = False
) -> None:
    """Raise TimeoutError for a producer that never reads what it is answered."""
    async with tasks.timeout(_ANSWER_SECONDS):
        if values:
            await answers.write(json_lines(values))
        if end:
            await answers.write_eof()


def _answer(result: Published | AionotifyError) -> dict[str, object]:
    """What a single request with the event would have been answered."""
    match result:
        case Published():
            return {"status": 202, **publish.answer(result)}
        case InvalidEvent():
            message = "the event is not valid"
            return _error(400, "invalid_event", message, fields=dict(result.fields))
        case RequestError():
            return _error(result.status, result.code, result.message)
        case PartlyPublished():
            more = publish.answer(result)
            return _error(503, "redis_unavailable", str(result)) | more
    return _error(503, "redis_unavailable", str(result))


def _error(status: int, code: str, message: str, **more: object) -> dict[str, object]:
    return {"status": status, "error": {"code": code, "message": message, **more}}


class _Lines:
    """Cuts what comes into lines, of which the blank ones do not count.

    Args:
        max_bytes: of a line. Of a longer one nothing is kept.

    Attributes:
        most_bytes: that a request can hold.
    """

    def __init__(self, max_bytes: int) -> None:
        self.most_bytes = 2 * max_bytes + 65536  # a line that has begun, and what one read brings
        self._max_bytes = max_bytes
        self._begun = b""
        self._is_too_long = False

    def of(self, part: bytes) -> Iterator[bytes | None]:
        """The lines that end in `part`, which is what comes next; None for one that is too long."""
        start = 0
        while (end := part.find(b"\n", start)) >= 0:
            yield from self._line(part[start:end])
            start = end + 1
        self._begin(part[start:])

    def rest(self) -> list[bytes | None]:
        """The last line, if it does not end."""
        return self._line(b"")

    def _line(self, end: bytes) -> list[bytes | None]:
        self._begin(end)
        line, too_long = self._begun.strip(), self._is_too_long
        self._begun, self._is_too_long = b"", False
        return [None] if too_long else [line] if line else []

    def _begin(self, more: bytes) -> None:
        if len(self._begun) + len(more) > self._max_bytes + 2:  # CR, and what is stripped
            self._begun, self._is_too_long = b"", True
        elif not self._is_too_long:
            self._begun += more
