"""The one-file binary: it takes nothing but itself, and leaves nothing behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.deploy.node import Node
from tests.harness import MainHost, RedisServer, SSEClient, eventually

READ_ONLY = Path("/proc")  # where not even root can write


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The one directory that the binary may write to."""
    directory = tmp_path / "t"
    directory.mkdir()
    return directory


@asynccontextmanager
async def running(
    binary: Path, temporary: Path, settings: Mapping[str, object]
) -> AsyncIterator[Node]:
    """Run the binary with nothing in its environment but settings and where it may write."""
    node = Node(
        settings,
        command=[str(binary)],
        directory=READ_ONLY,
        environ={"TMPDIR": str(temporary)},
    )
    async with node:
        await node.start()
        yield node


def processes(temporary: Path) -> list[str]:
    """What runs of a binary that was given `temporary`, or was started by one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = [(process / name).read_bytes().decode() for name in ("environ", "cmdline")]
        except (OSError, UnicodeDecodeError):
            continue
        if any(str(temporary) in text for text in texts):
            found.append(texts[1].replace("\0", " "))
    return found


def run(binary: Path, *words: str, temporary: Path) -> str:
    return subprocess.run(
        [binary, *words],
        cwd=READ_ONLY,
        env={"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_binary_needs_nothing_to_say_its_version(binary: Path, temporary: Path) -> None:
    assert run(binary, "--version", temporary=temporary).startswith("aionotify 0.")
    assert not list(temporary.iterdir())


def test_binary_prints_units_for_itself(binary: Path, temporary: Path) -> None:
    unit = run(binary, "systemd", "service", temporary=temporary)
    assert f"ExecStart={binary} serve\n" in unit


def test_the_demo_works_from_it(binary: Path, temporary: Path) -> None:
    ports = ("--port", "0", "--main-host-port", "0", "--redis-port", "0")
    run(binary, "demo", "--check", *ports, temporary=temporary)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("group", [False, True], ids=["one process", "the whole group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_binary_serves_with_a_redis_of_its_own_and_leaves_nothing(
    binary: Path, temporary: Path, main_host: MainHost, number: int, group: bool
) -> None:
    """To signal the group, as a terminal does, is no second signal to the process that serves."""
    key = "a-key-of-more-than-sixteen-characters"
    settings = {
        "redis.url": "embedded://",
        "auth.main_host.url": main_host.url,
        "admin.publish_keys": [key],
        "server.drain": 1,
    }
    async with (
        running(binary, temporary, settings) as node,
        SSEClient(f"{node.url}/notify", token="token-42") as client,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
    ):
        event = {"recipient_id": "42", "data": "durable"}
        async with session.post(f"{node.url}/publish", json=event) as response:
            assert response.status == 202
        await client.wait_for(lambda events: any("durable" in each.data for each in events))
        await eventually(lambda: any("loop=uvloop" in line for line in node.logs))
        assert await node.end(number, group=group) == 0
        assert await client.wait_end() == "complete"
        assert client.events[-1].event == "aionotify.drain"
    await eventually(lambda: not processes(temporary))
    assert not list(temporary.iterdir())


async def test_binary_serves_with_several_workers(
    binary: Path, temporary: Path, main_host: MainHost, redis_server: RedisServer
) -> None:
    """Which unpack nothing again: all run from the one place that the first has unpacked to."""
    settings = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.workers": 2,
        "server.drain": 1,
    }
    async with running(binary, temporary, settings) as node:
        clients = [SSEClient(f"{node.url}/notify", token="token-42") for _ in range(8)]
        await asyncio.gather(*(client.connect() for client in clients))
        assert len(list(temporary.glob("_MEI*"))) == 1
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": "42", "n": 1}')
        for client in clients:
            await client.wait_for(lambda events: any('"n": 1' in each.data for each in events))
        assert await node.end() == 0
        for client in clients:
            assert await client.wait_end() == "complete"
            await client.close()
    await eventually(lambda: not processes(temporary))
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("settings", [{"server.workers": 2}, {"redis.url": "embedded://"}], ids=str)
async def test_binary_goes_on_when_what_it_has_unpacked_is_removed(
    binary: Path,
    temporary: Path,
    main_host: MainHost,
    redis_server: RedisServer,
    settings: dict[str, object],
) -> None:
    """As systems clean their temporary directory of what is some days old."""
    given = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.drain": 0,
        **settings,
    }
    async with running(binary, temporary, given) as node:
        await eventually(lambda: count(node, " listening ") == given.get("server.workers", 1))
        [unpacked] = temporary.glob("_MEI*")
        for file in [file for file in unpacked.rglob("*") if not file.is_dir()]:
            file.unlink()
        os.kill(node.pid, signal.SIGHUP)
        await eventually(lambda: count(node, "configuration reloaded") == 1)
        what = b"valkey-server" if "redis.url" in settings else b"AIONOTIFY_WORKER="
        os.kill(max(having(temporary, what)), signal.SIGKILL)
        if "redis.url" in settings:
            await eventually(lambda: count(node, "embedded server exited") == 1)
            await eventually(lambda: count(node, "subscribed to Redis") == 2)
        else:
            await eventually(lambda: count(node, " listening ") == 3)
        async with SSEClient(f"{node.url}/notify", token="token-42") as client:
            assert client.status == 200
        assert await node.end() == 0


def count(node: Node, text: str) -> int:
    return sum(text in line for line in node.logs)


def having(temporary: Path, what: bytes) -> list[int]:
    """Processes of the binary with `what` in their command or their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environ = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        ours = bytes(temporary) in command + environ
        if ours and (what in command.split(b"\0")[0] or what in environ):
            found.append(int(process.name))
    return found
