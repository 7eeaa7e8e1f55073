"""``aionotify demo`` as a process: its ports, its end, and what it leaves behind."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.harness import eventually
from tests.harness.demo import FREE_PORTS, Demo


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_one_signal_ends_all_that_it_started(number: int, tmp_path: Path) -> None:
    with Demo(tmp_path, *FREE_PORTS) as demo:
        ports = [int(url.rstrip("/").rpartition(":")[2]) for url in demo_urls(demo.wait_ready())]
        ports.append(demo.redis_port)
        assert len(demo.left_behind()) > 2, "or this test could not tell: Redis, the server, files"
        assert all(map(is_open, ports))
        headers = {"Authorization": "Bearer alice-token"}
        with urlopen(Request(f"{demo.server_url}notify", headers=headers), timeout=10) as stream:
            assert stream.readline() == b"retry: 1000\n"
            assert demo.end(number, timeout=10) == 0
            assert b"aionotify.drain" in stream.read()
        assert not any(map(is_open, ports))
        assert demo.left_behind() == []


def test_a_ctrl_c_that_the_server_gets_too_ends_all_in_order(tmp_path: Path) -> None:
    """A terminal signals the whole group."""
    with Demo(tmp_path, *FREE_PORTS) as demo:
        with urlopen(f"{demo.wait_ready().url}server", timeout=10) as answer:
            server = json.load(answer)["pid"]
        os.kill(server, signal.SIGINT)
        assert demo.end(signal.SIGINT) == 0
        assert demo.left_behind() == []
        assert "second signal" not in demo.output


async def test_a_demo_that_is_killed_takes_everything_with_it(tmp_path: Path) -> None:
    """Its server notices, and so does the guard of its Redis."""
    with Demo(tmp_path, *FREE_PORTS) as demo:
        assert demo.wait_ready().left_behind()
        assert demo.end(signal.SIGKILL) == -signal.SIGKILL
        await eventually(lambda: demo.left_behind() == [])


def demo_urls(demo: Demo) -> tuple[str, str]:
    return demo.url, demo.server_url


@pytest.mark.parametrize("flag", ["--port", "--main-host-port", "--redis-port"])
def test_a_taken_port_is_told_and_nothing_is_left_running(
    flag: str, taken: int, tmp_path: Path
) -> None:
    with Demo(tmp_path, *FREE_PORTS, flag, str(taken)) as demo:
        assert demo.wait() == 1
        assert f"cannot listen on 127.0.0.1 port {taken}: it is in use" in demo.output
        assert f"({flag})" in demo.output
        assert "Traceback" not in demo.output
        assert demo.left_behind() == []


@pytest.mark.parametrize("port", ["65536", "-1", "²"])
def test_a_port_that_is_none_is_a_usage_error(port: str, tmp_path: Path) -> None:
    with Demo(tmp_path, f"--port={port}") as demo:
        assert demo.wait() == 2
        assert "expected a number from 0 to 65535" in demo.output


def test_the_check_sees_every_way_of_publishing_reach_exactly_the_right_streams(
    tmp_path: Path,
) -> None:
    with Demo(tmp_path, "--check") as demo:
        assert demo.wait(60) == 0, demo.output
        rows = [line for line in demo.output.splitlines() if "✓" in line]
        ways = [line[: line.index("✓")].split("  ")[1] for line in rows[:-1]]
        assert ways == [
            "Redis PUBLISH",
            "POST /publish, object",
            "POST /publish, array",
            "POST /publish, NDJSON",
            "aionotify.Publisher",
            "aionotify publish",
            "aionotify publish --ephemeral",
        ]
        assert [row.split("✓")[1:] for row in rows[:-1]] == [rows[0].split("✓")[1:]] * len(ways)
        assert rows[-1] == "Missed, then received after a reconnect: ✓ missed 1, missed 2, missed 3"
        assert "✗" not in demo.output
        assert demo.left_behind() == []
