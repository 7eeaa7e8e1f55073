"""What an operator sees of a server of several workers, whichever of them is asked."""

import asyncio
import os
import re
import signal
import stat
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, publish, received, stream

BOTH = {"0": 1.0, "1": 1.0}

Told = dict[str, dict[str, float]]


async def scrape(url: str) -> Told:
    """Values by metric (or bucket) and worker; over all other labels they are added up."""
    text = (await ask(url, "/metrics")).body.decode()
    told: Told = defaultdict(lambda: defaultdict(float))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            bucket = f' le="{sample.labels["le"]}"' if "le" in sample.labels else ""
            told[sample.name + bucket][sample.labels.get("worker", "")] += sample.value
    return told


async def up(server: NotifyServer) -> dict[str, float]:
    """Which workers have answered; of none when the one that was asked has not."""
    try:
        async with asyncio.timeout(3):
            return (await scrape(server.url))["aionotify_worker_up"]
    except (TimeoutError, OSError):
        return {}


def children(pid: int) -> list[int]:
    """The workers, in the order in which they were started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the service manager lets the server put what it needs while it runs."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
async def server(serve: Serve, runtime: Path) -> NotifyServer:
    """Two workers, both of them ready."""
    settings = {"server.workers": 2, "server.drain": 1, "server.max_streams_per_user": 0}
    server = await serve(settings, timeout=30)

    async def ready() -> bool:
        return await up(server) == BOTH

    await eventually(ready, timeout=30)
    return server


async def test_one_scrape_tells_of_all_workers(
    server: NotifyServer, redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, "42")) for _ in range(16)]
        publish(redis_server, {"recipient_id": "42"})
        for client in clients:
            await received(client, 1)
        for _ in range(8):  # connections, so both workers are asked
            told = await scrape(server.url)
            assert set(told["aionotify_streams"]) == {"0", "1"}
            assert all(count > 0 for count in told["aionotify_streams"].values())
            assert sum(told["aionotify_streams"].values()) == 16
            assert sum(told["aionotify_events_delivered_total"].values()) == 16
            assert told["aionotify_events_received_total"] == BOTH
            # One token, so each worker has asked the main host once.
            assert told["aionotify_main_host_request_seconds_count"] == BOTH
            assert told['aionotify_main_host_request_seconds_bucket le="+Inf"'] == BOTH
            assert told['aionotify_main_host_request_seconds_bucket le="60.0"'] == BOTH
            assert told['aionotify_main_host_request_seconds_bucket le="0.005"'].keys() == {
                "0",
                "1",
            }


async def test_a_worker_that_died_is_left_out_until_it_is_replaced(server: NotifyServer) -> None:
    killed, other = children(server.pid)
    async with AsyncExitStack() as stack:
        # Connections that stand: a new one may be kept waiting for the replacement.
        sessions = [await stack.enter_async_context(aiohttp.ClientSession()) for _ in range(8)]

        async def told(session: aiohttp.ClientSession) -> str:
            try:
                async with asyncio.timeout(1), session.get(f"{server.url}/metrics") as response:
                    return await response.text()
            except (aiohttp.ClientError, TimeoutError):
                return ""

        async def left_out() -> bool:
            texts = await asyncio.gather(*map(told, sessions))
            return any(re.search(r'(?m)^aionotify_worker_up\{worker="."\} 0', t) for t in texts)

        assert not await left_out()
        os.kill(killed, signal.SIGKILL)
        await eventually(left_out)

    async def replaced() -> bool:
        return await up(server) == BOTH

    await eventually(replaced, timeout=30)
    assert killed not in children(server.pid)
    assert other in children(server.pid)


async def test_a_worker_that_hangs_holds_up_no_scrape(server: NotifyServer) -> None:
    hanging, _ = children(server.pid)
    os.kill(hanging, signal.SIGSTOP)
    try:

        async def without_it() -> bool:
            return await up(server) == {"0": 0.0, "1": 1.0}

        await eventually(without_it, timeout=30)
    finally:
        os.kill(hanging, signal.SIGCONT)

    async def both() -> bool:
        return await up(server) == BOTH

    await eventually(both)


async def test_workers_can_be_asked_by_nobody_else_and_leave_nothing(
    server: NotifyServer, runtime: Path
) -> None:
    [directory] = runtime.iterdir()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} == {"0.sock", "1.sock"}
    assert await server.terminate() == 0
    assert list(runtime.iterdir()) == []


async def test_workers_whose_parent_was_killed_leave_nothing(
    server: NotifyServer, runtime: Path
) -> None:
    await server.kill()
    await eventually(lambda: not list(runtime.iterdir()))


async def test_workers_without_a_place_to_meet_tell_each_its_own(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "missing"))
    server = await serve({"server.workers": 2}, timeout=30)
    told = await scrape(server.url)
    assert set(told["aionotify_streams"]) == {""}
    await eventually(lambda: any("no directory for worker sockets" in line for line in server.logs))
