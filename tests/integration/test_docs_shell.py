"""What README.rst and docs/producers.rst say to type into a shell does what they say, as it stands.

But for ports, which may be taken, and where the command is.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def bash(script: str, **variables: str) -> str:
    """Run it as it would be pasted, and return what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environ(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
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
    assert len(answer.pop("id")) == len(example.pop("id"))
    assert answer == example
    assert (event["event"], event["data"]) == ("order.shipped", {"order": 7})


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
        events = await received(client, 3)
    assert [event["data"] for event in events] == [{"order": 7}, {"order": 7}, "from a program"]
    assert [event.get("event") for event in events] == ["order.shipped", None, None]


# README.rst


def test_the_first_notification_arrives_whichever_way_it_is_sent(tmp_path: Path) -> None:
    """At curl, which shows it as the page does; a durable one too."""
    with Demo(tmp_path, *FREE_PORTS) as demo:
        demo.wait_ready()
        url = demo.url.rstrip("/")
        listen = changed(
            snippet("README.rst", "Bearer alice-token"), ("http://127.0.0.1:8001", url)
        )
        heard = tmp_path / "heard"
        with (
            heard.open("wb") as output,
            subprocess.Popen(
                ["bash", "-c", f"exec {listen}"],
                env=environ(),
                stdout=output,
                stderr=subprocess.DEVNULL,
            ) as curl,
        ):

            def wait(words: str, times: int) -> None:
                deadline = time.monotonic() + PATIENCE
                while heard.read_text().count(words) < times:
                    assert time.monotonic() < deadline, heard.read_text()
                    time.sleep(0.02)

            try:
                wait("event: aionotify.open", 1)
                shown = snippet("README.rst", "event: order.shipped\ndata") + "\n\n"
                port, command = ("6380", demo.redis_port), (".venv/bin", BIN)
                bash(changed(snippet("README.rst", "redis-cli -p"), port))
                wait(shown, 1)
                bash(changed(snippet("README.rst", "--ephemeral \\"), port, command))
                wait("event: order.shipped\n", 2)
                bash(changed(snippet("README.rst", "6380 alice"), port, command))
                wait("\nid: ", 2)  # beside that of aionotify.open
            finally:
                curl.terminate()


async def starts(line: str, directory: Path, **variables: str) -> None:
    """A command serves until it is told to stop."""
    process = await asyncio.create_subprocess_exec(
        *interruptible("bash", "-c", changed(line, ("aionotify serve", "exec aionotify serve"))),
        cwd=directory,
        env=environ(AIONOTIFY_SERVER__PORT=str(free_port()), **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        async for told in process.stdout:
            if b": listening " in told:
                break
        process.send_signal(signal.SIGTERM)
        said = await process.stdout.read()
        assert await process.wait() == 0, said


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


@pytest.mark.parametrize("line", snippet("README.rst", "AIONOTIFY_REDIS__URL=").splitlines())
async def test_each_way_to_configure_starts_a_server(line: str) -> None:
    """Whether or not what it names is there."""
    await starts(line, ROOT)
