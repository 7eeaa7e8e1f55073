"""The lines that the demo gives away do what it says of them."""

import asyncio
import json
import shlex
import sys
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from aionotify import Client
from aionotify.demo.commands import commands, executable
from aionotify.demo.screen import show
from aionotify.demo.world import World
from tests.harness import eventually


@pytest.fixture(autouse=True)
def _as_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the test were ``python -m aionotify demo``."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/aionotify/__main__.py", "demo"])


def words(world: World, does: str) -> list[str]:
    """The words of the one line that `does` this."""
    [line] = [line for told, line in commands(world) if does in told]
    return shlex.split(line)


async def run(*command: str) -> list[dict[str, object]]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


async def online(world: World, user: str) -> bool:
    headers = {"Authorization": f"Bearer {world.key}"}
    async with (
        aiohttp.ClientSession(world.url, headers=headers) as session,
        session.get("/presence", params={"recipient_id": user}) as answer,
    ):
        found: bool = (await answer.json())[user]
        return found


async def test_the_curl_line_listens_as_alice(world: World) -> None:
    [curl, _, _, header, url] = words(world, "Listen as alice")
    assert curl == "curl"
    name, _, value = header.partition(": ")
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers={name: value}) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"


async def test_the_listen_line_listens_as_bob_and_the_publish_line_reaches_him(
    world: World,
) -> None:
    """Both as they stand, but that listening ends."""
    listen = words(world, "Listen as bob")
    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(run(*listen, "--count", "1"))
        await eventually(partial(online, world, "bob"))
        [published] = await run(*words(world, "from the command line"))
    assert published["online"] is True
    [connected, event] = listening.result()
    assert connected["type"] == "aionotify.open"
    assert event["type"] == "order.shipped"
    assert event["data"]["data"] == {"text": "From the command line"}  # type: ignore[index]


async def test_the_curl_line_publishes_to_alice(world: World) -> None:
    [_, _, header, _, body, url] = words(world, "over HTTP")
    name, _, value = header.partition(": ")
    async with Client(f"{world.url}/notify", token="alice-token") as alice:
        await anext(alice)
        async with aiohttp.ClientSession() as session:
            # curl -d sends the same
            form = {name: value, "Content-Type": "application/x-www-form-urlencoded"}
            async with session.post(url, data=body, headers=form) as answer:
                assert answer.status == 202
        assert json.loads((await anext(alice)).data)["data"] == {"text": "From curl"}


async def test_the_redis_line_publishes_to_everyone(world: World) -> None:
    [_, _, port, *command] = words(world, "plain Redis")
    async with Client(f"{world.url}/notify", token="bob-token") as bob:
        await anext(bob)
        async with Redis(port=int(port)) as redis:
            assert await redis.execute_command(*command) == 1  # type: ignore[no-untyped-call]
        assert json.loads((await anext(bob)).data)["data"] == {"text": "From redis-cli"}


async def test_the_operator_s_page_takes_the_key_that_publishes(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The address that is printed is that of the page, and the key may look and end streams."""
    show(world)
    [told] = [line for line in capsys.readouterr().out.splitlines() if "Operator" in line]
    page = told.split()[1]
    headers = {"Authorization": f"Bearer {world.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(page) as answer:
            assert (answer.status, answer.content_type) == (200, "text/html")
        async with session.get(f"{page}/nodes") as answer:
            assert answer.status == 200
        async with session.delete(f"{page}/streams", params={"user_id": "alice"}) as answer:
            assert answer.status == 202


def test_the_command_is_called_what_it_can_be_called_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name if that finds it, else by its path: .venv/bin is seldom where shells look."""
    own = tmp_path / "bin" / "aionotify"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(own)])
    monkeypatch.setenv("PATH", str(own.parent))
    assert executable() == "aionotify"
    monkeypatch.setenv("PATH", "/nowhere")
    assert executable() == "bin/aionotify"
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "executable", "/opt/a python")
    monkeypatch.setattr(sys, "argv", ["/x/aionotify/__main__.py"])
    assert executable() == "'opt/a python' -m aionotify"
