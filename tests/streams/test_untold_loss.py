"""A loss that a node finds while a stream's own questions fail: it is told all the same."""

import asyncio

import pytest

from aionotify.errors import BrokerUnavailable
from aionotify.events.cursor import Cursor
from aionotify.events.group import Ordered
from aionotify.events.page import Page
from aionotify.streams.heartbeat import Heartbeat
from aionotify.streams.hub import Hub
from aionotify.streams.stream import Stream, StreamSettings
from tests.harness import eventually

HAD, LOST, EVERYONE = 1000, 1002, 900  # positions


class Interest:
    def want(self, of: Ordered) -> None:
        pass

    def drop(self, of: Ordered) -> None:
        pass


class Silent:
    """An inbox that does not answer."""

    asked = 0

    def read(self, recipient_id: str, after: int) -> asyncio.Future[Page]:
        return self._asked()

    def read_groups(
        self, shard: int, groups: tuple[str, ...], after: int, asked: tuple[int, ...]
    ) -> asyncio.Future[Page]:
        return self._asked()

    def _asked(self) -> asyncio.Future[Page]:
        self.asked += 1
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        answer.set_exception(BrokerUnavailable("not just now"))
        return answer


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@pytest.mark.parametrize("where", ["own", "everyone"])
async def test_a_loss_is_told_by_a_stream_that_never_got_to_read(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another stream has read for it meanwhile that nothing is left to be read."""
    hub = Hub(Interest())
    hub.epoch = "abcdef"
    recipient = hub.enter("42")
    at = Cursor(EVERYONE, HAD)
    hub.everyone.set_newest(EVERYONE)
    recipient.set_newest(HAD)
    behind = recipient if where == "own" else hub.everyone
    behind.set_newest(LOST)  # which the stream is still to read
    hub.everyone.confirm()
    recipient.confirm()
    pause, waited = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waited.set()
        await pause.wait()

    monkeypatch.setattr("aionotify.streams.catch_up.asyncio.sleep", sleep)
    transport = Transport()
    stream = Stream(
        StreamSettings(), hub, recipient, Silent(), Heartbeat(15), start=at, epoch="abcdef"
    )
    stream.begin(transport, lambda stream: None)
    await waited.wait()
    behind.gone = LOST
    behind.set_newest(HAD if where == "own" else EVERYONE)
    pause.set()
    monkeypatch.undo()
    await eventually(lambda: stream.live)
    assert b"event: aionotify.gap" in transport.written
    assert b'"reason":"lost"' in transport.written
    assert stream.is_caught_up()
