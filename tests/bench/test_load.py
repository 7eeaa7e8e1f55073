"""The load generator counts what arrives, and nothing else."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scripts.bench import load as module
from scripts.bench.load import Load, LoadFailed, load_generator
from scripts.bench.pace import message
from tests.harness import eventually

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
REQUEST = "GET /{} HTTP/1.1\r\n\r\n"

Answer = Callable[[str], bytes]


@asynccontextmanager
async def clients(
    answer: Answer,
) -> AsyncIterator[tuple[Load, int, dict[str, asyncio.StreamWriter]]]:
    """A load generator, the port of a server that answers paths so, and who has asked it."""
    writers: dict[str, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        writers[path] = writer
        writer.write(answer(path))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with load_generator() as load:
            yield load, server.sockets[0].getsockname()[1], writers
    finally:
        server.close()
        for writer in writers.values():
            writer.close()


async def heard(load: Load, events: int) -> None:
    async def as_many() -> bool:
        return (await load.arrived()).events >= events

    await eventually(as_many)


async def test_events_are_counted_once_for_each_stream() -> None:
    """Repeated, unnumbered and new events count apart, also those that come with the head."""
    async with clients(lambda path: HEAD + message("*", 1)) as (load, port, writers):
        await load.open(port, REQUEST, map(str, range(300)))
        await heard(load, 300)
        await load.forget()
        for writer in writers.values():
            writer.write(message("*", 1) + message("*", 0) + message("*", 2) + message("*", 3))
        await heard(load, 600)
        arrived = await load.arrived()
        assert (arrived.events, arrived.repeated, arrived.unnumbered) == (600, 300, 300)
        assert arrived.ended == 0
        assert arrived.first <= arrived.last
        assert arrived.cpu > 0


async def test_events_that_come_in_parts_are_counted() -> None:
    """Wherever an event is cut, it is one event."""
    event = message("*", 1)
    async with clients(lambda path: HEAD) as (load, port, writers):
        await load.open(port, REQUEST, map(str, range(len(event))))
        for path, writer in writers.items():
            writer.write(event[: int(path[1:])])
        await asyncio.gather(*(writer.drain() for writer in writers.values()))
        await asyncio.sleep(0.1)  # so that most of them do come in two parts
        for path, writer in writers.items():
            writer.write(event[int(path[1:]) :])
        await heard(load, len(event))
        assert (await load.arrived()).repeated == 0


async def test_latency_is_from_publishing_to_arrival() -> None:
    """No event takes longer than it was between publishing and hearing of it."""
    async with clients(lambda path: HEAD) as (load, port, writers):
        await load.open(port, REQUEST, ["a"])
        began = asyncio.get_running_loop().time()
        event = message("*", 1)
        await asyncio.sleep(0.05)
        writers["/a"].write(event)
        await heard(load, 1)
        latency = await load.latency()
        assert len(latency) == 102
        assert 0.05 <= latency[0] == latency[101] <= asyncio.get_running_loop().time() - began


async def test_refusals_are_reported() -> None:
    """Who opens streams is told what the server said, and can go on."""
    refusal = b"HTTP/1.1 403 Forbidden\r\n\r\n"
    async with clients(lambda path: refusal if path == "/7" else HEAD) as (load, port, _):
        with pytest.raises(LoadFailed, match="403 Forbidden"):
            await load.open(port, REQUEST, map(str, range(10)))
        await load.close()
        await load.open(port, REQUEST, ["a", "b"])


async def test_streams_that_the_server_ends_are_counted() -> None:
    """Nobody takes silence for rest."""
    async with clients(lambda path: HEAD) as (load, port, writers):
        await load.open(port, REQUEST, ["a", "b"])
        writers["/a"].close()

        async def ended() -> bool:
            return (await load.arrived()).ended == 1

        await eventually(ended)


async def test_a_machine_without_a_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "_BUILD", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(LoadFailed, match="apt-get install gcc"):
        async with load_generator():
            raise AssertionError
