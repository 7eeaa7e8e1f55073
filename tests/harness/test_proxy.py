"""The proxy passes what it should and causes the fault that it is told to."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.harness import TcpProxy, eventually


class Peers:
    """Connections through a proxy to a server that echoes."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, TcpProxy(server.sockets[0].getsockname()[1]) as proxy:
        peers = Peers(proxy)
        yield peers
        peers.close()


async def test_proxy_passes_bytes_both_ways(peers: Peers) -> None:
    """What one side writes the other reads, and its end too."""
    reader, writer = await peers.connect()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.write_eof()
    assert await reader.read() == b""
    assert peers.proxy.accepted == 1


async def test_stalled_it_keeps_connections_and_loses_nothing(peers: Peers) -> None:
    """Nothing comes through a stall, on old and new connections; all of it does after."""
    old = await peers.connect()
    peers.proxy.stall()
    new = await peers.connect()
    for reader, writer in (old, new):
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
    await peers.proxy.restore()
    for reader, _ in (old, new):
        assert await reader.readexactly(4) == b"late"


async def test_a_cut_ends_the_connections_there_are(peers: Peers) -> None:
    """All of them end, and a new one works."""
    connections = [await peers.connect() for _ in range(3)]
    await eventually(lambda: peers.proxy.accepted == 3)
    for reader, writer in connections:
        writer.write(b"x")
        await reader.readexactly(1)
    peers.proxy.cut()
    for reader, _ in connections:
        assert await reader.read() == b""
    reader, writer = await peers.connect()
    writer.write(b"again")
    assert await reader.readexactly(5) == b"again"


async def test_a_cut_comes_in_the_middle_of_a_message(peers: Peers) -> None:
    """Exactly so many bytes get through, once."""
    reader, writer = await peers.connect()
    peers.proxy.cut_after(3)
    writer.write(b"message")
    assert await reader.read() == b"mes"
    reader, writer = await peers.connect()
    writer.write(b"message")
    assert await reader.readexactly(7) == b"message"


async def test_proxy_refuses_and_comes_back_on_the_same_port(peers: Peers) -> None:
    """While it refuses, connecting fails at once."""
    reader, _ = await peers.connect()
    await eventually(lambda: peers.proxy.accepted == 1)
    await peers.proxy.refuse()
    assert await reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await peers.connect()
    await peers.proxy.restore()
    reader, writer = await peers.connect()
    writer.write(b"back")
    assert await reader.readexactly(4) == b"back"
