"""A crowd that connects in one moment, and leaves in one."""

import asyncio
import re

import pytest

from tests.harness import PATIENCE, NotifyServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask

CROWD = 1000


class Client(asyncio.Protocol):
    """Asks for a stream as soon as it is connected, and notes how it is answered."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._transport: asyncio.Transport
        self.status: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def connect(self, server: NotifyServer) -> None:
        port = int(server.url.rpartition(":")[2])
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", port)
        request = (
            f"GET /notify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-{self._number}\r\n\r\n"
        )
        self._transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        if not self.status.done():
            self.status.set_result(data.partition(b"\r\n")[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_result(f"lost: {exc}".encode())

    def leave(self) -> None:
        self._transport.close()


async def shares(server: NotifyServer) -> list[float]:
    """How many streams each worker has."""
    text = (await ask(server, "/metrics")).body.decode()
    return [float(count) for count in re.findall(r"(?m)^aionotify_streams(?:\{.*\})? (\S+)$", text)]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_crowd_that_comes_at_once_is_let_in_and_goes_at_once(
    serve: Serve, workers: int
) -> None:
    """Nobody is refused or dropped; workers get equal shares, and their metrics show them."""
    server = await serve({"server.workers": workers})

    async def listening() -> bool:
        return len(await shares(server)) == workers

    await eventually(listening)
    clients = [Client(number) for number in range(CROWD)]
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(client.connect(server) for client in clients))
        answers = await asyncio.gather(*(client.status for client in clients))
    assert set(answers) == {b"HTTP/1.1 200 OK"}
    found = await shares(server)
    assert sum(found) == CROWD
    assert all(abs(share - CROWD / workers) < CROWD / 10 for share in found)
    for client in clients:
        client.leave()

    async def empty() -> bool:
        return await shares(server) == [0] * workers

    await eventually(empty)
    assert not [line for line in server.logs if "ERROR" in line or "WARNING" in line]
