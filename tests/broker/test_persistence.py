"""What the private server says yes to is in its file, or it is not said."""

import asyncio
import json
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aionotify.broker.connection.endpoint import Endpoint, info, replies
from aionotify.broker.connection.pipeline import Command
from aionotify.broker.persistence import written
from aionotify.broker.published import Published
from aionotify.broker.publisher import Publisher
from aionotify.config import RedisConfig
from aionotify.errors import AionotifyError, BrokerRefused, BrokerUnavailable
from tests.harness import eventually

ROOM = 5000  # bytes


class Kept:
    """The private server with a directory, and a publisher of its own."""

    def __init__(self, endpoint: Endpoint, pid: int) -> None:
        self.execute = endpoint.commands("writes").execute
        self.publisher = Publisher(endpoint)
        self._pid = pid

    async def publish(self, *numbers: int) -> list[Published | AionotifyError]:
        """Publish at the same time, each with the same key again and again."""
        data = "x" * (ROOM // 10)
        return await self.publisher.publish_many(
            {"recipient_id": "42", "id": str(number), "data": data} for number in numbers
        )

    def fill(self, data_dir: Path) -> None:
        """Leave room for a few events only, as on a disk that is nearly full."""
        [file] = (data_dir / "appendonlydir").glob("*.incr.aof")
        self._limit(file.stat().st_size + ROOM)

    def empty(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@asynccontextmanager
async def keeping(data_dir: Path) -> AsyncIterator[Kept]:
    endpoint = Endpoint(RedisConfig(url="embedded://", data_dir=str(data_dir)))
    await endpoint.start()
    try:
        [server] = await replies(endpoint.commands("writes").execute, ("INFO", "server"))
        yield Kept(endpoint, int(info(server)["process_id"]))
    finally:
        await endpoint.close()


async def stored(kept: Kept) -> list[str]:
    """The keys of what is in the inbox, in order."""
    [entries] = await replies(kept.execute, ("LRANGE", "aionotify:{42}:inbox", 0, -1))
    return [json.loads(entry.split(b" ", 2)[2])["id"] for entry in entries]


@pytest.mark.parametrize("together", [1, 8])
async def test_a_server_that_ends_with_its_disk_full_has_all_it_said_yes_to(
    tmp_path: Path, together: int
) -> None:
    """Redis itself says yes once too often, in each connection."""
    said_yes: list[str] = []
    async with keeping(tmp_path) as kept:
        await kept.publish(0)
        kept.fill(tmp_path)
        number = 1
        results: list[Published | AionotifyError] = []
        while not any(isinstance(result, AionotifyError) for result in results):
            numbers = range(number, number + together)
            results = await kept.publish(*numbers)
            said_yes += [
                str(number)
                for number, result in zip(numbers, results, strict=True)
                if isinstance(result, Published)
            ]
            number += together
        failed = [result for result in results if isinstance(result, AionotifyError)]
        assert all(isinstance(error, BrokerUnavailable) for error in failed)
        assert "disk" in str(failed[0])
        assert set(said_yes) < set(await stored(kept))  # so that this can fail
    async with keeping(tmp_path) as kept:
        assert await stored(kept) == ["0", *said_yes]


async def test_an_event_that_was_not_certain_is_when_there_is_room_again(tmp_path: Path) -> None:
    """Published again with its key it is there once; until then even that is refused."""
    async with keeping(tmp_path) as kept:
        await kept.publish(0)
        kept.fill(tmp_path)
        number = 0
        results: list[Published | AionotifyError] = []
        while not results or isinstance(results[0], Published):
            number += 1
            results = await kept.publish(number)
        assert isinstance((await kept.publish(number))[0], BrokerUnavailable)
        assert isinstance((await kept.publish(number + 1))[0], BrokerRefused)
        kept.empty()

        async def accepted() -> bool:
            return isinstance((await kept.publish(number))[0], Published)

        await eventually(accepted)
        await kept.publish(number + 1)
    async with keeping(tmp_path) as kept:
        assert await stored(kept) == [str(each) for each in range(number + 2)]


class Told:
    """A Redis that says what is given, one INFO after the other."""

    def __init__(self, *infos: tuple[str, int, int]) -> None:
        self.left = [*infos]

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        assert commands == (("INFO", "persistence"),)
        status, length, syncing = self.left.pop(0)
        text = (
            f"# Persistence\r\naof_last_write_status:{status}\r\n"
            f"aof_buffer_length:{length}\r\naof_pending_bio_fsync:{syncing}\r\n"
        )
        return [text.encode()]


@pytest.mark.parametrize(
    "infos",
    [
        [("ok", 0, 0)],  # nothing waits
        [("ok", 0, 1)],
        [("ok", 9, 0), ("ok", 9, 0)],  # what waited then has been written, and more waits now
        [("ok", 9, 0), ("ok", 9, 1)],
        [("ok", 9, 1), ("ok", 9, 1), ("ok", 9, 0), ("ok", 9, 1)],  # an fsync, then as above
        [("ok", 9, 1), ("ok", 0, 1)],
    ],
)
async def test_written_asks_until_the_answer_can_only_mean_one_thing(
    infos: list[tuple[str, int, int]],
) -> None:
    redis = Told(*infos)
    async with asyncio.timeout(5):
        await written(redis.execute)
    assert not redis.left


@pytest.mark.parametrize("before", [[], [("ok", 9, 0)], [("ok", 9, 1), ("ok", 9, 0)]])
async def test_written_says_that_the_file_could_not_be_written(
    before: list[tuple[str, int, int]],
) -> None:
    redis = Told(*before, ("err", 9, 0))
    with pytest.raises(BrokerUnavailable, match="could not write to its disk"):
        await written(redis.execute)


async def test_written_does_not_wait_for_ever_for_a_disk_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that others keep busy: there is always something that has not been written yet."""
    monkeypatch.setattr("aionotify.broker.persistence._TIMEOUT", 0.05)
    redis = Told(*[("ok", 9, 1)] * 1000)
    async with asyncio.timeout(5):
        with pytest.raises(BrokerUnavailable, match="too long"):
            await written(redis.execute)


async def test_a_redis_that_is_gone_has_kept_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        execute = kept.execute
    with pytest.raises(BrokerUnavailable):
        await written(execute)
