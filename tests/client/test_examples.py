"""What docs/listening.rst says to write does what it says there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import aionotify
from aionotify.testing import Server
from tests.client.test_client import STREAM, answer
from tests.client.test_client import Server as Scripted
from tests.docs.snippets import snippets
from tests.harness import eventually

[LISTEN, SHOW_ALL, LISTEN_ON] = [each.text for each in snippets("docs/listening.rst", "python")]


class Application:
    """Whoever wrote the example: what it was shown, and what it was asked for."""

    def __init__(self, example: str) -> None:
        self.shown: list[Any] = []
        self.saved = ""
        self.names: dict[str, Any] = {"aionotify": aionotify, "show": self.show, "save": self.save}
        exec(example, self.names)

    async def show(self, type: str, data: object) -> None:
        self.shown.append((type, data))

    async def save(self, last_event_id: str) -> None:
        self.saved = last_event_id


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await asyncio.to_thread(server.__enter__)
    yield server
    await asyncio.to_thread(server.__exit__, None, None, None)


async def test_the_example_that_saves_its_position_goes_on_from_there(server: Server) -> None:
    async with aionotify.Publisher(server.redis_url) as publisher:
        application = Application(LISTEN)
        listen = application.names["listen"]

        async def until_shown(number: int) -> None:
            url = f"{server.url}/notify"
            listening = asyncio.create_task(listen(url, "42", application.saved))
            await eventually(lambda: application.saved)
            await publisher.publish({"recipient_id": "42", "event": "x", "data": number})
            await eventually(lambda: application.shown[-1:] == [("x", number)])
            listening.cancel()
            await asyncio.wait([listening])

        await until_shown(1)
        await publisher.publish({"recipient_id": "42", "event": "x", "data": 2})
        await until_shown(3)
    assert application.shown == [("x", 1), ("x", 2), ("x", 3)]


async def test_the_example_that_renews_its_token_goes_on_with_the_new_one() -> None:
    """After the last event of which the first client had the whole."""
    tokens: list[str] = []

    async def get_token() -> str:
        tokens.append(f"token-{len(tokens)}")
        return tokens[-1]

    first, second = (STREAM + b"data: %d\nid: %d\n\n" % (n, n) for n in (1, 2))
    async with Scripted(first, answer("401 Unauthorized"), second, None).listening() as scripted:
        application = Application(LISTEN_ON)
        listening = asyncio.create_task(application.names["listen_on"](scripted.url, get_token))
        await eventually(lambda: len(application.shown) == 2)
        listening.cancel()
        await asyncio.wait([listening])
    assert application.shown == [("message", "1"), ("message", "2")]
    assert scripted.header("Authorization")[:3] == ["Bearer token-0"] * 2 + ["Bearer token-1"]
    assert scripted.header("Last-Event-ID")[:3] == [None, "1", "1"]


async def test_the_example_that_lists_shows_what_there_was_and_then_what_comes(
    server: Server,
) -> None:
    application = Application(SHOW_ALL)
    async with aionotify.Publisher(server.redis_url) as publisher:
        for number in range(2):
            await publisher.publish({"recipient_id": "42", "data": number})
        task = asyncio.create_task(application.names["show_all"](f"{server.url}/notify", "42"))
        await eventually(lambda: len(application.shown) == 2)
        await publisher.publish({"recipient_id": "42", "event": "x", "data": 2})
        await eventually(lambda: application.shown[2:])
        assert application.shown == [("message", 0), ("message", 1), ("x", 2)]

        async def is_read() -> bool:
            async with aionotify.Client(f"{server.url}/notify", token="42") as client:
                return (await client.history()).unread == 0

        await eventually(is_read)
        task.cancel()
        await asyncio.wait([task])
