"""``aionotify top``, of real nodes under load."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.harness import PATIENCE, NotifyServer, RedisServer, eventually, free_port
from tests.harness.server import REPOSITORY
from tests.integration.conftest import Serve
from tests.integration.talk import publish, stream

SOON = ("--interval", "0.5")


async def top(*words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run it without a terminal; return its exit code, what it prints, and its errors."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aionotify", "top", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY / "tests",  # where there is no config.yaml
        env=clean | dict(environ or {}),
    )
    async with asyncio.timeout(PATIENCE):
        out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()


@asynccontextmanager
async def load(server: NotifyServer, redis: RedisServer) -> AsyncIterator[None]:
    """Two streams of a user, and a hundred events a second for it, or as many as there can be."""

    async def go_on() -> None:
        while True:
            publish(redis, {"recipient_id": "42"})
            await asyncio.sleep(0.01)

    async with stream(server, "42"), stream(server, "42"):
        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


def rows(text: str) -> dict[str, list[str]]:
    """The values in each row, by its node; not what is said below the table."""
    lines = [re.sub(r" (ms|s)\b", "", line).split() for line in text.splitlines()]
    found = [words for words in lines if words and re.fullmatch(r"[\d.]+:\d+", words[0])]
    return {words[0]: words[1:] for words in found if words[1] not in ("is", "fails")}


async def test_all_nodes_are_in_one_table(serve: Serve, redis_server: RedisServer) -> None:
    """Each with its own figures, and the exit code is 0 for all are up."""
    busy, idle = await serve(), await serve()
    async with load(busy, redis_server):
        code, out, errors = await top(busy.url, f"{idle.url}/metrics", "--once", *SOON)
    assert (code, errors) == (0, "")
    assert out.split("\n")[0].split() == [
        *("Node", "Streams", "Events/s", "Latency", "Lag", "Refused/s", "Slow/s", "Redis")
    ]
    found = rows(out)
    assert found.keys() == {busy.url.partition("//")[2], idle.url.partition("//")[2]}
    mine, theirs = (found[each.url.partition("//")[2]] for each in (busy, idle))
    assert mine[0] == "2"
    assert float(mine[1]) > 2
    assert theirs[:2] == ["0", "0"]
    assert theirs[4:6] == ["0", "0"]
    assert float(mine[6]) < 1000


async def test_each_worker_has_its_row(serve: Serve) -> None:
    """A node that is named twice is one."""
    server = await serve({"server.workers": 2}, timeout=30)

    async def both() -> bool:
        code, out, _ = await top(server.url, f"{server.url}/metrics", "--interval", "0.1")
        return code == 0 and out.count("#0") == out.count("#1") == 1

    await eventually(both)


async def test_a_node_that_is_down_is_shown_as_down(
    serve: Serve, redis_server: RedisServer
) -> None:
    """The others are shown all the same, and the exit code is 1."""
    server = await serve()
    nobody, silent, page = f"http://127.0.0.1:{free_port()}", await serve(), f"{server.url}/healthz"
    os.kill(silent.pid, signal.SIGSTOP)
    try:
        code, out, _ = await top(server.url, nobody, silent.url, page, f"{page}x", *SOON)
    finally:
        os.kill(silent.pid, signal.SIGCONT)
    assert code == 1
    name, down, hung = (each.partition("//")[2] for each in (server.url, nobody, silent.url))
    assert rows(out)[down][0] == rows(out)[hung][0] == "down"
    assert f"{down} is down: Connection refused" in out
    assert f"{hung} is down: it did not answer in time" in out
    assert f"{name} is down: it answers with something else than metrics" in out
    assert f"{name} is down: it answers 404 to /healthzx" in out
    assert re.search(rf"(?m)^{name} +0 ", out)


async def test_a_node_that_does_not_hear_redis_says_so(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({"redis.url": own_redis.url})
    own_redis.stop()

    async def lost() -> bool:
        _, out, _ = await top(server.url, "--interval", "0.1")
        return rows(out)[server.url.partition("//")[2]][-1] == "lost" and "redis" in out

    await eventually(lost)


@pytest.mark.parametrize("admin", [False, True])
async def test_without_an_address_it_is_this_machine_s_node(serve: Serve, admin: bool) -> None:
    """At its admin address if it has one."""
    port = free_port()
    server = await serve({"admin.port": port} if admin else {})
    environ = {
        f"AIONOTIFY_{name.upper().replace('.', '__')}": str(value)
        for name, value in server.settings.items()
        if name in ("server.port", "admin.port")
    }
    code, out, errors = await top("--interval", "0.1", environ=environ)
    assert (code, errors) == (0, "")
    expected = port if admin else server.settings["server.port"]
    assert list(rows(out)) == [f"127.0.0.1:{expected}"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("localhost:8001",), "URL is the address of a node: http://host:port"),
        (("ftp://localhost",), "URL is the address of a node: http://host:port"),
        (("http://",), "URL is the address of a node: http://host:port"),
        (("http://[::1",), "URL is the address of a node: http://host:port"),
        (("--interval", "0"), "expected from 0.1 to 3600 seconds"),
        (("--interval", "nan"), "expected from 0.1 to 3600 seconds"),
        (("--interval", "soon"), "argument --interval"),
        (("--admin.port", "1", "--admin.host", "unix:/a"), "the server listens on a Unix socket"),
        (("--redis.url", "redis://x"), "aionotify top does not use --redis.url"),
    ],
)
async def test_wrong_usage_is_told_in_a_line(words: tuple[str, ...], message: str) -> None:
    code, out, errors = await top(*words)
    assert (code, out) == (2, "")
    assert message in errors
    assert "Traceback" not in errors


async def test_a_terminal_of_80_by_24_shows_it_all_and_is_left_as_it_was(
    serve: Serve, redis_server: RedisServer
) -> None:
    server, down = await serve(), free_port()
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(screen, lambda: seen.extend(os.read(screen, 65536)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aionotify", "top", server.url, f"http://127.0.0.1:{down}"),
        *SOON,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=REPOSITORY / "tests",
        env=os.environ | {"TERM": "xterm"},
    )

    def lines() -> list[str]:
        """Of the latest whole screen."""
        frames = re.split(rb"\x1b\[H", bytes(seen))
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frames[-2].decode() if frames[2:] else "")
        return [line.rstrip() for line in text.split("\n")]

    def row() -> list[str]:
        return rows("\n".join(lines())).get(server.url.partition("//")[2], [])

    try:
        async with load(server, redis_server):
            await eventually(lambda: row()[:1] == ["2"] and row()[1] not in ("0", "-"))
        shown = lines()
        assert len(shown) <= 24
        assert max(map(len, shown)) <= 80
        assert any("Refused/s" in line and line.endswith("Redis") for line in shown)
        assert f"127.0.0.1:{down} is down: Connection refused" in shown
        assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in shown)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
        await eventually(lambda: b"\x1b[?1049l" in seen and b"\x1b[?25h" in seen)
        assert b"Traceback" not in seen
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        loop.remove_reader(screen)
        os.close(screen)
        os.close(terminal)
