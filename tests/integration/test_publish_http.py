"""``aionotify publish --url``: a request that stays open, from a shell."""

import asyncio
import json
import signal
from contextlib import AbstractAsyncContextManager

import pytest

from tests.harness import PATIENCE, NotifyServer, eventually
from tests.harness.ports import free_port
from tests.integration.conftest import Serve
from tests.integration.talk import command, received, stream

KEY = "publisher-key-0123456789"


@pytest.fixture
async def server(serve: Serve) -> NotifyServer:
    return await serve({"admin.publish_keys": [KEY], "server.drain": 0})


def publishing(
    *argv: str, key: str = KEY
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    return command("publish", *argv, AIONOTIFY_PUBLISH_KEY=key)


def url(server: NotifyServer) -> str:
    return f"{server.url}/publish"


async def said(process: asyncio.subprocess.Process, text: str = "") -> tuple[str, str]:
    stdout, stderr = await asyncio.wait_for(process.communicate(text.encode()), PATIENCE)
    return stdout.decode(), stderr.decode()


async def test_lines_are_published_and_answered_as_they_come(server: NotifyServer) -> None:
    async with stream(server, "42") as client, publishing("--url", url(server)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            event = json.dumps({"recipient_id": "42", "data": number})
            process.stdin.write(f"{event}\n".encode())
            answer = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
            assert answer == {"event_id": answer["event_id"], "online": True}
            assert len(await received(client, number + 1)) == number + 1
        assert await said(process) == ("", "")
        assert process.returncode == 0


async def test_an_event_that_is_refused_is_told_and_the_others_are_published(
    server: NotifyServer,
) -> None:
    async with publishing("--url", url(server)) as process:
        text = '{"recipient_id": "42"}\n{"recipient_id": ""}\n{"recipient_id": "42"}\n'
        stdout, stderr = await said(process, text)
    assert len(stdout.splitlines()) == 2
    problem = "recipient_id: must be 1 to 256 characters, not 0"
    assert (stderr, process.returncode) == (f"aionotify: event 2: {problem}\n", 1)


async def test_arguments_name_one_event(server: NotifyServer) -> None:
    argv = ("42", '{"order": 7}', "--ephemeral", "--url", url(server))
    async with publishing(*argv) as process:
        assert await said(process) == ('{"online":false}\n', "")
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("key", "path", "code", "text"),
    [
        ("", "/publish", 2, "set $AIONOTIFY_PUBLISH_KEY to a publish key"),
        ("wrong", "/publish", 1, "401: this is not a publish key"),
        (KEY, "/healthz", 1, "405: "),
        (KEY, "/nowhere", 1, "404: "),
    ],
)
async def test_a_node_that_does_not_take_them_is_quoted(
    server: NotifyServer, key: str, path: str, code: int, text: str
) -> None:
    async with publishing("--url", server.url + path, key=key) as process:
        stdout, stderr = await said(process, '{"recipient_id": "42"}\n')
    assert (process.returncode, stdout) == (code, "")
    assert text in stderr.splitlines()[-1]


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}/publish", "nonsense", "http://[/publish"])
async def test_an_address_where_nobody_is_ends_in_a_line(address: str) -> None:
    async with publishing("42", "--url", address.format(free_port())) as process:
        stdout, stderr = await said(process)
    assert (process.returncode, stdout, len(stderr.splitlines())) == (1, "", 1)


async def test_a_node_that_leaves_ends_it_and_says_how_far_it_came(server: NotifyServer) -> None:
    async with publishing("--url", url(server)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"recipient_id": "42"}\n')
        await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert await server.terminate() == 0
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 1
        assert process.stderr is not None
        told = (await process.stderr.read()).decode()
        assert told.endswith(": the node ended the request after 1 answers\n")


async def test_it_can_be_interrupted_while_nothing_comes(server: NotifyServer) -> None:
    async with publishing("--url", url(server)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"recipient_id": "42"}\n')
        await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        process.send_signal(signal.SIGINT)
        await eventually(lambda: process.returncode is not None)
        assert process.returncode == 1
        assert process.stderr is not None
        assert await process.stderr.read() == b""
