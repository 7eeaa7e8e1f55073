"""The server as a process: how it starts, how it tells so, and how it ends."""

import asyncio
import inspect
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_runner import AppRunner, BaseRunner
from aiohttp.web_server import Server

from aionotify.process.node import RUNNER_OPTIONS
from aionotify.process.worker import VARIABLE
from tests.harness import (
    MainHost,
    NotifyServer,
    RedisServer,
    SSEClient,
    eventually,
    free_port,
)
from tests.integration.conftest import BOTH_WAYS, Manager, Serve
from tests.integration.talk import command


def children(pid: int) -> set[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(child) for child in listed.split()}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def status_of(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status


@asynccontextmanager
async def streams(server: NotifyServer, count: int) -> AsyncIterator[list[SSEClient]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                SSEClient(f"{server.url}/notify", token=f"token-{number}")
            )
            for number in range(count)
        ]


# One process


def test_every_option_of_the_runner_is_one() -> None:
    """Or aiohttp drops all of them, with no more than a warning, when one is misspelt."""
    known = {
        name
        for made in (AppRunner, BaseRunner, Server, RequestHandler)
        for name in inspect.signature(made).parameters
    }
    assert set(RUNNER_OPTIONS) <= known


@BOTH_WAYS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_streams_in_order_and_exits_0(
    serve: Serve, number: signal.Signals
) -> None:
    server = await serve({"server.drain": 2})
    async with streams(server, 20) as clients:
        started = time.monotonic()
        os.kill(server.pid, number)
        assert await server.wait() == 0
        assert time.monotonic() - started < 3
        for client in clients:
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.drain"


@BOTH_WAYS
async def test_streams_end_spread_over_the_drain_while_it_says_not_ready(serve: Serve) -> None:
    admin = free_port()
    server = await serve({"server.drain": 3, "admin.port": admin})
    async with streams(server, 20) as clients:
        os.kill(server.pid, signal.SIGTERM)
        await clients[0].wait_for(lambda _: any(client.end for client in clients))
        assert await status_of(f"http://127.0.0.1:{admin}/readyz") == 503
        assert any(client.end is None for client in clients)
        assert await server.wait() == 0


async def test_a_second_signal_ends_it_at_once_and_exits_1(serve: Serve) -> None:
    server = await serve({"server.drain": 60})
    async with streams(server, 100):  # one every 50 ms
        os.kill(server.pid, signal.SIGTERM)
        await eventually(lambda: any("draining" in line for line in server.logs))
        started = time.monotonic()
        assert await server.terminate() == 1
        assert time.monotonic() - started < 4


async def test_without_streams_it_ends_at_once(serve: Serve) -> None:
    server = await serve({"server.drain": 60})
    started = time.monotonic()
    assert await server.terminate() == 0
    assert time.monotonic() - started < 3


async def test_server_tells_the_service_manager_what_it_does(
    serve: Serve, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    server = await serve()
    await eventually(lambda: manager.told("WATCHDOG=1") > 3)
    assert manager.told("READY=1") == 1
    assert manager.told(f"STATUS=Serving on {server.url}") == 1
    assert manager.told("STOPPING=1") == 0
    assert await server.terminate() == 0
    await eventually(lambda: manager.told("STOPPING=1") == 1)


async def test_server_says_where_it_listens_and_on_which_loop(serve: Serve) -> None:
    server = await serve()
    await eventually(
        lambda: any(f"listening address={server.url} loop=uvloop" in line for line in server.logs)
    )


async def test_without_uvloop_it_runs_on_asyncio(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = await serve()
    await eventually(lambda: any("loop=asyncio" in line for line in server.logs))
    async with streams(server, 1):
        pass
    assert await server.terminate() == 0


async def test_server_takes_as_many_open_files_as_it_may(serve: Serve) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # inherited
    try:
        server = await serve()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)


async def test_server_serves_on_a_unix_socket(
    serve: Serve, tmp_path: Path, manager: Manager
) -> None:
    path = f"{tmp_path}/a.sock"
    server = await serve({"server.host": f"unix:{path}"}, until=None)
    await eventually(lambda: manager.told(f"STATUS=Serving on unix:{path}"))
    connector = aiohttp.UnixConnector(path)
    headers = {"Authorization": "Bearer token-42"}
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        session.get("http://aionotify/notify") as response,
    ):
        assert response.status == 200
    assert await server.terminate() == 0


async def test_the_admin_port_has_the_routes_that_the_public_one_has_not(serve: Serve) -> None:
    port = free_port()
    server = await serve({"admin.port": port})
    assert await status_of(f"http://127.0.0.1:{port}/metrics") == 200
    assert await status_of(f"{server.url}/metrics") == 404
    assert await status_of(f"http://127.0.0.1:{port}/notify") == 404
    assert await server.terminate() == 0


# Socket activation

ACTIVATE = """
import fcntl, os, sys
above = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1:]]
for fd, sock in enumerate(above, 3):
    os.dup2(sock, fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "aionotify", "serve"])
"""


@asynccontextmanager
async def activated(
    redis: RedisServer, sockets: dict[str, socket.socket], **settings: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the server as systemd does that has `sockets` open for it."""
    fds = [sock.fileno() for sock in sockets.values()]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ACTIVATE, *map(str, fds)),
        env={
            **os.environ,
            **settings,
            "AIONOTIFY_REDIS__URL": redis.url,
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": ":".join(sockets),
        },
        pass_fds=fds,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_restart_by_socket_activation_refuses_no_connection(
    redis_server: RedisServer, workers: str
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=100) as public,
        socket.create_server(("127.0.0.1", 0)) as admin,
    ):
        sockets = {"aionotify.socket": public, "admin": admin}
        url, admin_url = (f"http://127.0.0.1:{s.getsockname()[1]}" for s in sockets.values())
        settings = {"AIONOTIFY_SERVER__WORKERS": workers, "AIONOTIFY_SERVER__DRAIN": "1"}
        for _ in range(2):
            waiting = asyncio.create_task(status_of(f"{url}/healthz"))  # nobody accepts it yet
            async with activated(redis_server, sockets, **settings) as process:
                assert await waiting == 200
                assert await status_of(f"{admin_url}/metrics") == 200
                process.terminate()
                assert await process.wait() == 0


# Several workers


async def test_no_worker_takes_what_lies_around_for_a_module(
    redis_server: RedisServer, main_host: MainHost, tmp_path: Path
) -> None:
    """Whoever can put a file where it is started must not have it carried out."""
    marker = tmp_path / "carried out"
    (tmp_path / "calendar.py").write_text(f"open({str(marker)!r}, 'w')\n")
    (tmp_path / "aionotify").mkdir()  # such as a checkout in a folder of that name
    settings: dict[str, object] = {
        "redis.url": redis_server.url,
        "auth.main_host.url": main_host.url,
        "server.workers": 2,
        "server.drain": 1,
    }
    async with NotifyServer(settings, directory=tmp_path) as server:
        await eventually(lambda: len(children(server.pid)) == 2)
        assert await status_of(f"{server.url}/metrics") == 200
    assert not marker.exists()


@pytest.fixture
async def two_workers(serve: Serve) -> NotifyServer:
    """A server of two workers, both of them ready."""
    server = await serve({"server.workers": 2, "server.drain": 1})
    await eventually(lambda: len(listening(server)) == 2)
    return server


def listening(server: NotifyServer) -> list[str]:
    return [line for line in server.logs if "listening address=" in line]


def unexpected_exits(server: NotifyServer) -> list[str]:
    return [line for line in server.logs if "worker exited unexpectedly" in line]


def open_sockets(pid: int) -> int:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum(os.readlink(link).startswith("socket:") for link in links)


async def test_an_event_reaches_the_streams_of_every_worker(
    two_workers: NotifyServer, redis_server: RedisServer
) -> None:
    before = {pid: open_sockets(pid) for pid in children(two_workers.pid)}
    async with streams(two_workers, 16) as clients:
        assert len(before) == 2
        assert all(open_sockets(pid) > count for pid, count in before.items())
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": "*"}')
        for client in clients:
            await client.wait_events(1)


async def test_a_worker_that_dies_is_replaced_and_no_connection_is_refused(
    two_workers: NotifyServer,
) -> None:
    before = children(two_workers.pid)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: not is_alive(victim))
    statuses = [asyncio.create_task(status_of(f"{two_workers.url}/healthz")) for _ in range(20)]
    assert await asyncio.gather(*statuses) == [200] * 20
    await eventually(lambda: len(listening(two_workers)) == 3)
    assert len(children(two_workers.pid) - before) == 1
    assert await two_workers.terminate() == 0


async def test_a_worker_that_hangs_is_replaced(
    serve: Serve, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")  # or a busy machine is taken for a hanging one
    server = await serve({"server.workers": 2, "server.drain": 1})
    await eventually(lambda: manager.told("READY=1") == 1)
    victim = min(children(server.pid))
    os.kill(victim, signal.SIGSTOP)
    await eventually(lambda: not is_alive(victim))
    await eventually(lambda: len(listening(server)) == 3)
    assert manager.told("WATCHDOG=1") > 0
    assert await server.terminate() == 0


async def test_the_service_is_ready_when_every_worker_is(serve: Serve, manager: Manager) -> None:
    server = await serve({"server.workers": 3})
    await eventually(lambda: manager.told("READY=1") == 1)
    await eventually(lambda: len(listening(server)) == 3)
    assert manager.told("STATUS=Serving with 3 workers") == 1


async def test_a_worker_that_died_while_another_one_starts_does_not_count_as_ready(
    serve: Serve, manager: Manager
) -> None:
    """Nor do it and the one in its place count as two."""
    server = await serve({"server.workers": 2}, until=None)
    await eventually(lambda: len(children(server.pid)) == 2, interval=0.002)
    slow = max(children(server.pid))
    # Until it runs the worker's command, its parent waits for it and does nothing else.
    await eventually(lambda: b"-P" in Path(f"/proc/{slow}/cmdline").read_bytes(), interval=0.002)
    os.kill(slow, signal.SIGSTOP)

    async def one_starts_and_dies(times: int) -> None:
        await eventually(lambda: len(listening(server)) == times)
        [quick] = children(server.pid) - {slow}
        os.kill(quick, signal.SIGKILL)
        await eventually(lambda: len(unexpected_exits(server)) == times)

    await one_starts_and_dies(1)
    await one_starts_and_dies(2)
    assert manager.told("READY=1") == 0
    os.kill(slow, signal.SIGCONT)
    await eventually(lambda: manager.told("READY=1") == 1)
    await eventually(lambda: len(listening(server)) == 4)
    assert await server.terminate() == 0


@pytest.mark.parametrize("whom", ["parent", "group"])
async def test_a_signal_ends_every_worker_in_order(two_workers: NotifyServer, whom: str) -> None:
    """A service manager signals all processes; for a worker that is not a second signal."""
    workers = children(two_workers.pid)
    async with streams(two_workers, 10) as clients:
        for pid in (two_workers.pid, *(workers if whom == "group" else ())):
            os.kill(pid, signal.SIGTERM)
        assert await two_workers.wait() == 0
        assert not any(is_alive(pid) for pid in workers)
        for client in clients:
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.drain"


async def test_a_second_signal_kills_the_workers_and_exits_1(serve: Serve) -> None:
    server = await serve({"server.workers": 2, "server.drain": 60})
    await eventually(lambda: len(listening(server)) == 2)
    workers = children(server.pid)
    async with streams(server, 100) as clients:
        os.kill(server.pid, signal.SIGTERM)
        await eventually(lambda: any("draining" in line for line in server.logs))
        assert await server.terminate() == 1
        for client in clients:
            await client.wait_end()
        assert any(client.end != "complete" for client in clients)
    await eventually(lambda: not any(is_alive(pid) for pid in workers))


async def test_workers_end_with_a_parent_that_is_killed(two_workers: NotifyServer) -> None:
    workers = children(two_workers.pid)
    await two_workers.kill()
    await eventually(lambda: not any(is_alive(pid) for pid in workers))


async def test_a_worker_that_cannot_start_ends_the_server_with_its_reason(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nif {VARIABLE!r} in os.environ:\n"
        "    os.write(2, b'this worker has a reason\\n')\n    os._exit(2)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = await serve({"server.workers": 2}, until=None)
    assert await server.wait() == 2
    await eventually(lambda: "this worker has a reason" in server.logs)
    await eventually(lambda: any("worker did not start code=2" in line for line in server.logs))


# aionotify listen


def listening_command(
    *argv: str, token: str = "token-42"
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    return command("listen", *argv, AIONOTIFY_TOKEN=token)


async def test_listening_prints_each_event_as_a_line_of_json(
    serve: Serve, redis_server: RedisServer
) -> None:
    server = await serve()
    command = listening_command("--url", f"{server.url}/notify", "--count", "2")
    async with command as process:
        await opened(process)
        for data in ('{"order": 7}', '"a\\u001bb"'):
            event = f'{{"recipient_id": 42, "event": "e", "data": {data}}}'
            redis_server.cli("PUBLISH", "push_notifications", event)
        output, _ = await process.communicate()
        assert process.returncode == 0
    events = [json.loads(line) for line in output.splitlines()]
    assert [(each["type"], each["data"]["data"]) for each in events] == [
        ("e", {"order": 7}),
        ("e", "a\x1bb"),
    ]


async def opened(process: asyncio.subprocess.Process) -> None:
    """Return when its stream is open: what is published from then on reaches it."""
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["type"] == "aionotify.open"


@pytest.mark.usefixtures("deaf_to_sigint")
async def test_listening_ends_with_ctrl_c_and_exits_0(serve: Serve) -> None:
    server = await serve()
    async with listening_command("--server.port", server.url.rpartition(":")[2]) as process:
        await opened(process)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")


async def test_listening_without_a_token_says_how_to_give_one(serve: Serve) -> None:
    server = await serve()
    async with listening_command("--url", f"{server.url}/notify", token="") as process:
        _, errors = await process.communicate()
        assert process.returncode == 1
    expected = "no token in the request; give one with --token or $AIONOTIFY_TOKEN"
    assert errors.decode() == f"aionotify: the server answered 403: {expected}\n"


async def test_listening_with_a_token_that_is_refused_exits_1(serve: Serve) -> None:
    server = await serve()
    command = listening_command("--url", f"{server.url}/notify", token="hunter2")
    async with command as process:
        _, errors = await process.communicate()
        assert process.returncode == 1
        assert errors.decode().startswith("aionotify: the server answered 401: ")
        assert b"hunter2" not in errors
