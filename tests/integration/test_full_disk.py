"""The disk under embedded:// is full: nothing is accepted that is not stored, and all else goes on.

A limit on the size of its files stands for the end of the disk: it is the same to the server (the
part that fits is written, the rest is not), and needs no rights.
"""

import asyncio
import json
import resource
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.harness import NotifyServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import CHANNEL, Answer, ask, received, stream

KEY = "publisher-key-0123456789"
PADDING = "x" * 500
ROOM = 5000  # bytes: for some events


def settings_for(data: Path) -> Mapping[str, object]:
    return {
        "redis.url": "embedded://",
        "redis.data_dir": str(data),
        "admin.publish_keys": [KEY],
        "server.drain": 0,
    }


class Disk:
    """What the private server of a node may write to."""

    def __init__(self, server: NotifyServer, data: Path) -> None:
        [guard] = children(server.pid)
        [self._pid] = children(guard)
        self._data = data
        words = Path(f"/proc/{guard}/cmdline").read_bytes().split(b"\0")
        [self.socket] = [word.decode() for word in words if word.endswith(b"/valkey.sock")][:1]

    def fill(self) -> None:
        [file] = (self._data / "appendonlydir").glob("*.incr.aof")
        self._limit(file.stat().st_size + ROOM)

    def empty(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def to_publish(server: NotifyServer, number: int) -> Answer:
    """Publish an event, each time with the same key, as a producer does until it is accepted."""
    event = {"recipient_id": "42", "id": f"key-{number}", "n": number, "padding": PADDING}
    return await ask(server, "/publish", "POST", token=KEY, data=json.dumps(event).encode())


async def accepted_until_full(server: NotifyServer, disk: Disk) -> int:
    """Fill the disk and publish until that is refused; return how many were accepted."""
    disk.fill()
    number = 0
    while (answer := await to_publish(server, number)).status == 202:
        number += 1
    assert number  # there was room for some
    assert (answer.status, answer.code) == (503, "redis_unavailable")
    assert "Retry-After" in answer.headers
    assert "disk" in answer.json["error"]["results"][0]["error"]["message"]
    return number


async def problem(server: NotifyServer) -> tuple[int, str]:
    """The status of /readyz, and what the check ``store`` objects to."""
    answer = await ask(server, "/readyz")
    return answer.status, answer.json["checks"]["store"].get("reason", "")


async def kept(server: NotifyServer, count: int) -> list[int]:
    """The numbers of the events in the inbox, of which there should be `count`."""
    async with stream(server, "42", "?last_event_id=0") as client:
        events: list[Any] = await received(client, count)
        # What follows it came after all that is kept.
        assert (await to_publish(server, -1)).status == 202
        events = (await received(client, count + 1))[:-1]
    return [event["n"] for event in events]


async def test_a_full_disk_stops_publishing_and_no_stream_until_there_is_room_again(
    serve: Serve, tmp_path: Path
) -> None:
    settings = settings_for(tmp_path / "data")
    server = await serve(settings)
    disk = Disk(server, tmp_path / "data")
    async with stream(server, "42") as client:
        refused = await accepted_until_full(server, disk)

        async def objects() -> bool:
            status, reason = await problem(server)
            return status == 200 and "Errors writing to the AOF file" in reason

        await eventually(objects)
        assert any(
            "Redis stores no events" in line and "Errors writing to the AOF file" in line
            for line in server.logs
        )
        assert (await to_publish(server, refused)).status == 503
        with Redis(unix_socket_path=disk.socket) as producer:
            producer.publish(CHANNEL, json.dumps({"recipient_id": "42", "n": "ephemeral"}))
        await client.wait_for(lambda _: "ephemeral" in "".join(client.data))
        async with stream(server, "42", "?last_event_id=0") as late:  # the inbox can be read
            assert [event["n"] for event in await received(late, refused)] == [*range(refused)]

        disk.empty()

        async def is_ready() -> bool:
            return await problem(server) == (200, "")

        await eventually(is_ready)
        await eventually(lambda: any("Redis stores events again" in line for line in server.logs))
        for number in (refused, refused + 1):
            assert (await to_publish(server, number)).status == 202
        events = await received(client, refused + 3)
        assert client.end is None
        durable = [event["n"] for event in events if event["n"] != "ephemeral"]
        assert durable == [*range(refused + 2)]
    assert await server.terminate() == 0
    assert not any("embedded server exited" in line for line in server.logs)
    assert await kept(await serve(settings), refused + 2) == [*range(refused + 2)]


@pytest.mark.parametrize("end", [NotifyServer.terminate, NotifyServer.kill])
async def test_a_node_that_ends_with_its_disk_full_has_all_that_was_accepted(
    serve: Serve, tmp_path: Path, end: Callable[[NotifyServer], Awaitable[int]]
) -> None:
    """In order, or without warning."""
    settings = settings_for(tmp_path / "data")
    server = await serve(settings)
    count = await accepted_until_full(server, Disk(server, tmp_path / "data"))
    together = range(count, count + 5)
    answers = await asyncio.gather(*(to_publish(server, number) for number in together))
    assert {answer.status for answer in answers} == {503}
    await end(server)
    assert await kept(await serve(settings), count) == [*range(count)]
