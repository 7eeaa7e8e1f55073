"""Events as their producers have them, and what becomes of them. Knows no Redis."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from aionotify.errors import AionotifyError, BrokerError, InvalidEvent
from aionotify.events.event import Event, check_recipient, decode
from aionotify.events.event_id import EventId, mark_of, parse
from aionotify.events.options import check_ephemeral


@dataclass(frozen=True, slots=True)
class Published:
    """What became of an event for one recipient, or for several.

    Attributes:
        event_id: see `aionotify.events.event_id`; for several receivers the last one's. Empty for
            an ephemeral event, which has none.
        online: whether some node has (one of) the recipients connected now; None if it is for
            groups only, of whose members nobody is asked.
        repeated: the idempotency key had been used before, so nothing was published again.
        recipients: for several receivers, what became of it for each user.
        groups: and for each group.
    """

    event_id: str
    online: bool | None
    repeated: bool = False
    recipients: Mapping[str, "Published | BrokerError"] = field(default_factory=dict)
    groups: Mapping[str, "Published | BrokerError"] = field(default_factory=dict)


class PartlyPublished(BrokerError):
    """Some of several receivers got the event and others did not; `recipients` and `groups` say
    which.

    Publish it again with the same idempotency key: those who have it do not get it twice.
    """

    def __init__(
        self,
        recipients: Mapping[str, Published | BrokerError],
        groups: Mapping[str, Published | BrokerError] = MappingProxyType({}),
    ) -> None:
        self.recipients, self.groups = recipients, groups
        results = [*recipients.values(), *groups.values()]
        failed = [each for each in results if isinstance(each, BrokerError)]
        which = "recipients and groups" if groups else "recipients"
        super().__init__(f"{len(failed)} of {len(results)} {which} did not get the event")


def decode_checked(message: bytes, max_bytes: int, *, ephemeral: bool) -> Event:
    """Return the event of a message; raise InvalidEvent if it cannot be published so."""
    event = decode(message, max_bytes)
    if ephemeral and event.key is not None:
        raise InvalidEvent({"id": "is for durable events only"})
    if ephemeral and event.options is not None:
        check_ephemeral(event.options)
    return event


def check(
    events: Iterable[Mapping[str, Any] | bytes | str], max_bytes: int, *, ephemeral: bool = False
) -> list[Event | InvalidEvent]:
    """Return each event as it will be published, or what is wrong with it."""
    checked: list[Event | InvalidEvent] = []
    for event in events:
        try:
            checked.append(decode_checked(_json(event), max_bytes, ephemeral=ephemeral))
        except InvalidEvent as error:
            checked.append(error)
    return checked


def checked_event_id(text: str, recipient_id: str | int) -> EventId:
    """Return an event id; raise InvalidEvent if it is none, or not of this recipient's inbox."""
    found = parse(text)
    if found is None:
        raise InvalidEvent({"event_id": "must be <mark>.<position>, as it was answered"})
    problem = check_recipient(recipient_id)
    if problem is None and mark_of(str(recipient_id)) != found.mark:
        problem = "is not the recipient in whose inbox the event is"
    if problem is not None:
        raise InvalidEvent({"recipient_id": problem})
    return found


def valid(checked: Iterable[Event | AionotifyError]) -> list[Event]:
    """Return those that can be published."""
    return [each for each in checked if isinstance(each, Event)]


def merge(
    checked: Iterable[Event | AionotifyError], results: Iterable[Published | BrokerError]
) -> list[Published | AionotifyError]:
    """Put what became of the valid events in their places."""
    rest = iter(results)
    return [next(rest) if isinstance(each, Event) else each for each in checked]


def summed_up(event: Event, results: list[Published | BrokerError]) -> Published | BrokerError:
    """What became of an event, from what became of it for each receiver."""
    if event.shared():
        return results[0]
    by_recipient = dict(zip(event.recipients, results, strict=False))
    by_group = dict(zip(event.groups, results[len(event.recipients) :], strict=True))
    done = [result for result in results if isinstance(result, Published)]
    failed = [result for result in results if isinstance(result, BrokerError)]
    if not failed:
        return Published(
            done[-1].event_id,
            any(result.online for result in done) if event.recipients else None,
            all(result.repeated for result in done),
            by_recipient,
            by_group,
        )
    return PartlyPublished(by_recipient, by_group) if done else failed[0]


def _json(event: Mapping[str, Any] | bytes | str) -> bytes:
    if isinstance(event, bytes):
        return event
    try:
        if isinstance(event, str):
            return event.encode()
        return msgspec.json.encode(dict(event))  # other mappings msgspec does not know
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent({"body": f"cannot be written as JSON: {error}"}) from None
