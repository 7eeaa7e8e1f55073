"""append.lua, read.lua and recall.lua on a real Redis, at whatever time a test says it is."""

from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from tests.harness import RedisServer

NOW = 1_800_000_000_000_000  # microseconds since the epoch, and even
SECOND = 1_000_000  # microseconds
RETENTION = 3600  # seconds


class Appended(NamedTuple):
    position: int
    subscribers: int
    repeated: int


class Read(NamedTuple):
    """A page, its entries as `(position, previous, event)`."""

    entries: list[tuple[int, int, str]]
    newest: int
    complete: int
    gap: str

    @property
    def events(self) -> list[str]:
        return [event for _, _, event in self.entries]


def source(name: str, now: int | None = None) -> str:
    """The text of a script; with `now` (microseconds), Redis' clock stands there."""
    text = resources.files("aionotify.broker").joinpath(name).read_text()
    if now is None:
        return text
    asks = "redis.call('TIME')"
    assert text.count(asks) == 1
    return text.replace(asks, f"{{'{now // SECOND}', '{now % SECOND}'}}")


@dataclass
class Scripts:
    """The scripts, for one recipient. `now` is in microseconds; None is the real time."""

    server: RedisServer
    now: int | None = NOW
    channel: str = "p:{u}"

    @property
    def inbox(self) -> str:
        return f"{self.channel}:inbox"

    @property
    def collapse(self) -> str:
        return f"{self.channel}:collapse"

    def append(
        self,
        event: str = "{}",
        *,
        key: str | None = None,
        max_events: int = 100,
        retention: float = RETENTION,
        remember: float = 300,
        by: Redis | None = None,
        floor: int = 0,
        since: int = 0,
        collapse: str = "",
    ) -> Appended:
        """Append one event; `by` is the client that asks, if not just any."""
        keys = [self.inbox] if key is None else [self.inbox, f"{self.channel}:id:{key}"]
        args: list[str | float] = [self.channel, event, max_events, retention, remember, "PUBLISH"]
        args += floor, since
        if collapse:
            keys.append(self.collapse)
            args += "", "", "", collapse
        run = self.server.cli if by is None else by.execute_command
        reply = run("EVAL", source("append.lua", self.now), len(keys), *keys, *args)
        return Appended(*map(int, reply))

    def recall(self, position: int, *, by: Redis | None = None) -> bool:
        """Take an event out again; return whether it was there."""
        args = position, self.channel, "- recalled {}", "PUBLISH"
        run = self.server.cli if by is None else by.execute_command
        keys = self.inbox, f"{self.channel}:away", f"{self.channel}:away:events"
        return bool(run("EVAL", source("recall.lua"), len(keys), *keys, *args))

    def collapse_keys(self) -> dict[str, int]:
        """The collapse keys that are kept, with the position of the last event of each."""
        reply = self.server.cli("ZRANGE", self.collapse, 0, -1, "WITHSCORES")
        return {key: int(score) for key, score in zip(reply[::2], reply[1::2], strict=True)}

    def try_append(self, key: str, *, before: str | None = None, lease: tuple[int, int]) -> str:
        """Append an event by a lease, after the one with the key `before`; return what it came to:
        ``stored``, ``repeated`` or Redis' error.
        """
        keys = [self.inbox, *(f"{self.channel}:id:{each}" for each in (key, before) if each)]
        args = (self.channel, key, 100, RETENTION, 300, "PUBLISH", 0, 0, "", *lease)
        try:
            reply = self.server.cli("EVAL", source("append.lua", self.now), len(keys), *keys, *args)
        except ResponseError as error:
            return str(error)
        return "repeated" if reply[2] else "stored"

    def read(
        self,
        after: int | None,
        *,
        max_events: int = 100,
        max_bytes: int = 65536,
        retention: float = RETENTION,
        floor: int = 0,
        since: int = 0,
        settled: int | None = None,
    ) -> Read:
        text, start = source("read.lua", self.now), "" if after is None else after
        if settled is None:
            settled = (self.now or 0) - 3 * SECOND | 1
        limits = max_events, max_bytes, retention, floor, since, settled
        [reply] = self.server.cli("EVAL", text, 1, self.inbox, *limits, start)
        if isinstance(reply, str):
            return Read([], int(reply), 1, "")
        newest, complete, gap, *raw = reply
        return Read([_entry(item) for item in raw], int(newest), complete, gap)

    def stored(self) -> list[str]:
        """The inbox, as it is in Redis."""
        entries: list[str] = self.server.cli("LRANGE", self.inbox, 0, -1)
        return entries

    def pass_time(self, seconds: float) -> None:
        """Move the clock; what would have expired meanwhile is still there."""
        assert self.now is not None
        self.now += round(seconds * SECOND)


def _entry(text: str) -> tuple[int, int, str]:
    position, previous, event = text.split(" ", 2)
    if not position.isdigit():
        return 0, 0, text
    return int(position), int(previous), event
