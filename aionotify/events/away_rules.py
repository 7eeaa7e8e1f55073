"""Which events wait for users who are away, and for how long, before they are handed on."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from aionotify.events.event import EVERYONE, Event
from aionotify.events.options import UNTIL


class AwayRule(NamedTuple):
    """How an event waits.

    Attributes:
        seconds: after which it is handed on.
        until: what keeps it from that, see `Options.until`.
    """

    seconds: float
    until: str = UNTIL[0]


class AwayRules:
    """The rule of each event: its own options, or else what is usual for its type.

    Args:
        types: of event types.
    """

    def __init__(self, types: Mapping[str, AwayRule]) -> None:
        self._types = types

    def of(self, event: Event) -> AwayRule | None:
        """How an event waits, or None if it does not; what is for everyone never does."""
        options = event.options
        if options is not None and options.away is not None:
            return AwayRule(options.away, options.until or UNTIL[0])
        if not self._types or event.type is None or event.recipients == (EVERYONE,):
            return None
        return self._types.get(event.type)


NO_RULES: Final = AwayRules({})
