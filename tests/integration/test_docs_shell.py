"""What README.rst and docs/ say to type into a shell does what they say, as it stands.

But for ports, which may be taken, and where the command is.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest

from tests.deploy.proxies import SERVICES, service
from tests.docs.pages import ROOT
from tests.docs.snippets import snippet
from tests.harness import PATIENCE, MainHost, RedisServer, free_port
from tests.harness.demo import FREE_PORTS, Demo
from tests.harness.interrupts import interruptible
from tests.integration.conftest import Serve
from tests.integration.talk import received, stream

KEY = "publisher-key-0123456789"
BIN = Path(sys.executable).parent


def environ(**variables: str) -> dict[str, str]:
    """The commands that the docs have somebody use, from where the tests have them."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
    for name in ("curl", "redis-cli"):
        service(name)
    path = f"{BIN}:{SERVICES}:{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}


def ran(script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environ(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def bash(script: str, **variables: str) -> str:
    """Run it as it would be pasted, and return what it printed."""
    done = ran(script, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def changed(script: str, *changes: tuple[str, object]) -> str:
    for old, new in changes:
        assert old in script, f"{old} is not in {script}"
        script = script.replace(old, str(new))
    return script


# docs/producers.rst


async def test_curl_publishes_and_gets_the_answer_that_is_shown(serve: Serve) -> None:
    """But for the value of the id."""
    server = await serve({"admin.publish_keys": [KEY]})
    script, _, shown = snippet("docs/producers.rst", "curl -X POST").partition("\n\n")
    script = changed(script, ("http://127.0.0.1:8001", server.url))
    async with stream(server, "42") as client:
        await client.wait_events(1)
        answer = json.loads(await asyncio.to_thread(bash, script, PUBLISH_KEY=KEY))
        [event] = await received(client, 1)
    example = json.loads(shown)
    assert len(answer.pop("event_id")) == len(example.pop("event_id"))
    assert answer == example
    assert (event["event"], event["data"]) == ("order.shipped", {"order": 7})


async def test_curl_puts_a_user_in_a_group_and_takes_them_out(
    serve: Serve, redis_server: RedisServer
) -> None:
    key = {"key": KEY, "rights": ["groups"]}
    server = await serve({"admin.publish_keys": [key], "groups.memberships": True})
    script = snippet("docs/authentication.rst", "curl -X PUT")
    put, delete = changed(script, ("http://127.0.0.1:8001", server.url)).splitlines()
    for line, groups in ((put, ["team:7"]), (delete, [])):
        await asyncio.to_thread(bash, line, GROUPS_KEY=KEY)
        assert redis_server.cli("ZRANGE", "aionotify:{42}:groups", 0, -1) == groups


async def test_the_command_publishes_what_it_is_given(
    serve: Serve, redis_server: RedisServer, tmp_path: Path
) -> None:
    """As arguments or, from another program, on its standard input."""
    other = tmp_path / "generate-events"
    other.write_text('#!/bin/sh\necho \'{"recipient_id": "42", "data": "from a program"}\'\n')
    other.chmod(0o755)
    script = snippet("docs/producers.rst", "aionotify publish 42")
    server = await serve()
    async with stream(server, "42") as client:
        await client.wait_events(1)
        variables = {"AIONOTIFY_REDIS__URL": redis_server.url}
        script = f"PATH={tmp_path}:$PATH\n{script}"
        await asyncio.to_thread(lambda: bash(script, **variables))
        events = await received(client, 4)
    assert [event["data"] for event in events] == [
        *({"order": 7}, {"order": 7}, "3 people liked it", "from a program")
    ]
    assert [event.get("event") for event in events] == ["order.shipped", None, None, None]
    assert events[2]["aionotify"] == {"collapse": "likes:7"}


# docs/operations.rst


async def test_the_view_in_a_terminal_is_what_the_page_shows(serve: Serve) -> None:
    """But for the figures, and without workers."""
    up = (await serve()).url.removeprefix("http://")
    down = f"127.0.0.1:{free_port()}"
    script = changed(
        snippet("docs/operations.rst", "aionotify top http"),
        ("push1.internal:9001", up),
        ("push2.internal:9001", down),
        ("--interval 5", "--interval 0.5"),
    )
    done = await asyncio.to_thread(ran, script)
    assert done.returncode == 1
    shown = snippet("docs/operations.rst", "Events/s Latency").splitlines()
    told = [line.split() for line in done.stdout.splitlines()]
    assert told[0] == shown[0].split()
    assert [line for line in told[1:3] if line[0] == up]
    for line in shown[3:]:
        assert line.replace("push2.internal:9001", down).split() in told


# docs/guides/index.rst


async def test_the_key_that_an_example_shares_with_its_node_ends_streams(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    """With the example's own configuration, and whatever key was made."""
    port = free_port()
    script = changed(
        snippet("docs/guides/index.rst", "export PUBLISH_KEY"),
        ("aionotify serve", "exec aionotify serve"),
        ("$(openssl rand -hex 32)", KEY),
    )
    variables = {
        "AIONOTIFY_SERVER__PORT": str(port),
        "AIONOTIFY_REDIS__URL": redis_server.url,
        "AIONOTIFY_AUTH__MAIN_HOST__URL": main_host.url,
    }
    async with (
        serving(script, ROOT / "docs/examples/flask", **variables),
        stream(f"http://127.0.0.1:{port}", "42") as client,
    ):
        await client.wait_events(1)
        delete = changed(snippet("docs/guides/index.rst", "curl -X DELETE"), ("8001", port))
        await asyncio.to_thread(bash, delete, PUBLISH_KEY=KEY)
        assert await client.wait_end() == "complete"


# README.rst


class Listening:
    """A command that writes what it hears, until it is left."""

    def __init__(self, script: str, output: Path, **variables: str) -> None:
        self._path = output
        with output.open("wb") as stdout:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {script}"],
                env=environ(**variables),
                stdout=stdout,
                stderr=subprocess.DEVNULL,
            )

    def wait(self, words: str, times: int = 1) -> None:
        """Return when it has written these words so many times."""
        deadline = time.monotonic() + PATIENCE
        while (heard := self._path.read_text()).count(words) < times:
            assert time.monotonic() < deadline, heard
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.wait()


def test_the_first_notification_arrives_whichever_way_it_is_sent(tmp_path: Path) -> None:
    """At curl, which shows it as the page does; a durable one too."""
    with Demo(tmp_path, *FREE_PORTS) as demo:
        demo.wait_ready()
        url = demo.server_url.rstrip("/")
        curl = changed(snippet("README.rst", "Bearer alice-token"), ("http://127.0.0.1:8001", url))
        with Listening(curl, tmp_path / "heard") as listening:
            listening.wait("event: aionotify.open")
            shown = snippet("README.rst", "event: order.shipped\ndata") + "\n\n"
            port, command = ("6380", demo.redis_port), (".venv/bin", BIN)
            bash(changed(snippet("README.rst", "redis-cli -p"), port))
            listening.wait(shown)
            bash(changed(snippet("README.rst", "--ephemeral \\"), port, command))
            listening.wait("event: order.shipped\n", 2)
            bash(changed(snippet("README.rst", "6380 alice"), port, command))
            listening.wait("\nid: ", 2)  # beside that of aionotify.open


@asynccontextmanager
async def serving(script: str, directory: Path, **variables: str) -> AsyncIterator[None]:
    """While a command serves, which then ends as it is told to."""
    process = await asyncio.create_subprocess_exec(
        *interruptible("bash", "-c", script),
        cwd=directory,
        env=environ(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        async for told in process.stdout:
            if b": listening " in told:
                break
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        said = await process.stdout.read()
    assert await process.wait() == 0, said


async def starts(line: str, directory: Path, **variables: str) -> None:
    """A command serves until it is told to stop."""
    script = changed(line, ("aionotify serve", "exec aionotify serve"))
    port = {"AIONOTIFY_SERVER__PORT": str(free_port())}
    async with serving(script, directory, **port, **variables):
        pass


async def test_what_to_do_in_an_environment_of_ones_own_ends_in_a_server(
    redis_server: RedisServer, main_host: MainHost, tmp_path: Path
) -> None:
    """In a directory with nothing in it; to install it is tried elsewhere."""
    init, check, serve = snippet("README.rst", "aionotify init").splitlines()[-3:]
    variables = {
        "AIONOTIFY_REDIS__URL": redis_server.url,
        "AIONOTIFY_AUTH__MAIN_HOST__URL": main_host.url,
    }
    for line in (init, check):
        await asyncio.to_thread(bash, f"cd {tmp_path}\n{line}", **variables)
    await starts(serve, tmp_path, **variables)


async def test_a_server_for_development_needs_nothing_beside_it(tmp_path: Path) -> None:
    """In a directory with nothing in it; to install it is tried elsewhere."""
    _, serve = snippet("README.rst", "aionotify serve --dev").splitlines()
    await starts(serve, tmp_path)


@pytest.mark.parametrize("line", snippet("README.rst", "AIONOTIFY_REDIS__URL=").splitlines())
async def test_each_way_to_configure_starts_a_server(line: str) -> None:
    """Whether or not what it names is there."""
    await starts(line, ROOT)


# docs/authentication.rst


async def test_a_token_to_try_with_opens_a_stream(serve: Serve) -> None:
    """Where command and server have the same configuration."""
    settings = {"method": "jwt", "jwt.key": "s" * 32, "jwt.algorithms": "HS256"}
    server = await serve({f"auth.{name}": value for name, value in settings.items()})
    variables = {
        f"AIONOTIFY_AUTH__{name.upper().replace('.', '__')}": value
        for name, value in settings.items()
    }
    line = snippet("docs/authentication.rst", "aionotify token alice")
    curl = await asyncio.create_subprocess_exec(
        *(
            "bash",
            "-c",
            changed(line, ("http://127.0.0.1:8001", server.url), ("curl", "exec curl")),
        ),
        env=environ(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert curl.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert b"event: aionotify.open\n" in [await curl.stdout.readline() for _ in range(4)]
    finally:
        curl.kill()
        await curl.communicate()
