"""What goes wrong around a server, and what an operator is told meanwhile and can do."""

import asyncio
import json
import os
import resource
import secrets
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.harness import NotifyServer, RedisServer, eventually, free_port
from tests.integration.conftest import Serve
from tests.integration.talk import (
    Answer,
    ask,
    cpu_seconds,
    messages,
    metric,
    publish,
    received,
    stream,
)

KEY = "publisher-key-0123456789"


def said(server: NotifyServer, *parts: str) -> bool:
    """Whether one line of the log has all of `parts`."""
    return any(all(part in line for part in parts) for line in server.logs)


# The log level


async def logged(server: NotifyServer) -> float:
    """Cause some refusals; return which share of them was logged, as happens at level debug."""
    ids = [secrets.token_hex(8) for _ in range(12)]
    for id in ids:
        assert (await ask(server, headers={"X-Request-ID": id})).status == 403
    # What was written before this line is there when it is.
    last = secrets.token_hex(8)
    async with stream(server, "42", headers={"X-Request-ID": last}):
        await eventually(lambda: said(server, "stream opened", last))
    return sum(said(server, id) for id in ids) / len(ids)


def share(server: NotifyServer, expected: float) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return await logged(server) == expected

    return reached


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigusr1_switches_debugging_on_and_off_in_every_worker(
    serve: Serve, workers: int
) -> None:
    server = await serve({"server.workers": workers, "server.drain": 1}, timeout=30)
    assert await logged(server) == 0
    os.kill(server.pid, signal.SIGUSR1)
    await eventually(share(server, 1))
    os.kill(server.pid, signal.SIGUSR1)
    await eventually(share(server, 0))
    await eventually(lambda: said(server, "log level changed", "level=debug"))
    await eventually(lambda: said(server, "log level changed", "level=info"))
    assert await server.terminate() == 0


async def test_a_worker_logs_at_the_level_of_its_parent_whatever_it_is_sent_and_when(
    serve: Serve,
) -> None:
    """`systemctl kill` signals all processes of a service, those that are starting as well."""
    server = await serve({"server.workers": 2, "server.drain": 1}, timeout=30)
    os.kill(server.pid, signal.SIGUSR1)
    await eventually(share(server, 1))
    before = children(server.pid)
    for child in before:
        os.kill(child, signal.SIGUSR1)
    assert await logged(server) == 1
    os.kill(min(before), signal.SIGKILL)
    await eventually(lambda: len(children(server.pid)) == 2 and children(server.pid) != before)
    [new] = children(server.pid) - before
    os.kill(new, signal.SIGUSR1)  # it is still importing modules
    await eventually(lambda: sum("listening address" in line for line in server.logs) == 3, 30)
    assert await logged(server) == 1
    assert new in children(server.pid)


def children(pid: int) -> set[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(child) for child in listed.split()}


# Redis is full


async def to_publish(server: NotifyServer) -> Answer:
    headers = {"Authorization": f"Bearer {KEY}"}
    event = json.dumps({"recipient_id": "42", "kind": "durable"}).encode()
    return await ask(server, "/publish", "POST", headers=headers, data=event)


async def readiness(server: NotifyServer) -> tuple[int, dict[str, str]]:
    """The status of /readyz, and its reasons."""
    answer = await ask(server, "/readyz")
    checks = answer.json["checks"].items()
    return answer.status, {name: check["reason"] for name, check in checks if not check["ok"]}


def fill_memory(redis: RedisServer) -> None:
    redis.cli("CONFIG", "SET", "maxmemory", 1)


def empty_memory(redis: RedisServer) -> None:
    redis.cli("CONFIG", "SET", "maxmemory", 0)


def lose_disk(redis: RedisServer) -> None:
    """Nothing can be written any more, as on a disk that is full."""
    shutil.rmtree(redis.directory)
    redis.cli("CONFIG", "SET", "save", "3600 1")
    redis.cli("BGSAVE")


def need_no_disk(redis: RedisServer) -> None:
    redis.cli("CONFIG", "SET", "save", "")


@pytest.mark.parametrize(
    ("fail", "mend", "reason"),
    [(fill_memory, empty_memory, "maxmemory"), (lose_disk, need_no_disk, "persist to disk")],
)
async def test_a_redis_that_is_full_stops_publishing_and_no_stream(
    serve: Serve,
    own_redis: RedisServer,
    fail: Callable[[RedisServer], None],
    mend: Callable[[RedisServer], None],
    reason: str,
) -> None:
    server = await serve({"redis.url": own_redis.url, "admin.publish_keys": [KEY]})
    async with stream(server, "42") as client:
        fail(own_redis)

        async def objects() -> bool:
            status, reasons = await readiness(server)
            return status == 200 and list(reasons) == ["store"] and reason in reasons["store"]

        await eventually(objects)
        await eventually(lambda: said(server, "Redis stores no events", reason))
        refusal = await to_publish(server)
        assert (refusal.status, refusal.code) == (503, "redis_unavailable")
        assert "Retry-After" in refusal.headers
        publish(own_redis, {"recipient_id": "42", "kind": "ephemeral"})
        assert [event["kind"] for event in await received(client, 1)] == ["ephemeral"]

        mend(own_redis)

        async def is_ready() -> bool:
            return await readiness(server) == (200, {})

        await eventually(is_ready)
        await eventually(lambda: said(server, "Redis stores events again"))
        assert (await to_publish(server)).status == 202
        assert [event["kind"] for event in await received(client, 2)] == ["ephemeral", "durable"]
        assert client.end is None


async def test_a_redis_user_that_may_only_read_is_no_reason_to_object(
    serve: Serve, own_redis: RedisServer
) -> None:
    """Whoever publishes may be another."""
    own_redis.cli("ACL", "SETUSER", "reader", "on", ">secret", "~*", "&*", "+@all", "-hset")
    url = own_redis.url.replace("redis://", "redis://reader:secret@")
    server = await serve({"redis.url": url})
    assert await readiness(server) == (200, {})
    assert own_redis.cli("ACL", "LOG")  # it has tried


# No file descriptors


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_without_file_descriptors_streams_go_on_and_new_ones_wait(
    serve: Serve,
    redis_server: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loop: str,
) -> None:
    """Many connections that ask for nothing take all of them, and then go away."""
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = await serve({"stream.heartbeat": 0.2})
    await eventually(lambda: said(server, f"loop={loop}"))
    limit = 80
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(stream(server, "42"))
        probe = await stack.enter_async_context(aiohttp.ClientSession())

        async def readiness() -> tuple[int, object]:  # over a connection that stands
            async with probe.get(f"{server.url}/readyz") as response:
                answer = await response.json()
                return response.status, answer["checks"]["open_files"].get("reason")

        assert await readiness() == (200, None)
        idle = [await open_connection(server) for _ in range(2 * limit)]
        await eventually(lambda: open_files(server) == limit)

        async def objects() -> bool:
            status, reason = await readiness()
            return status == 503 and "file descriptor" in str(reason)

        await eventually(objects)
        await eventually(lambda: said(server, "open files are near the limit"))
        before, beats = cpu_seconds(server.pid), client.heartbeats
        await client.wait_for(lambda _: client.heartbeats >= beats + 10)  # two seconds
        assert cpu_seconds(server.pid) - before < 0.5
        publish(redis_server, {"recipient_id": "42", "n": 1})
        assert await received(client, 1) == [{"recipient_id": "42", "n": 1}]
        told = sum("cannot accept connections" in line for line in server.logs)
        assert told == (1 if loop == "asyncio" else 0)  # uvloop closes them without a word

        for writer in idle:
            writer.close()

        async def is_ready() -> bool:
            return await readiness() == (200, None)

        await eventually(is_ready)
        await eventually(lambda: said(server, "open files are below the limit again"))
        async with stream(server, "42") as another:
            publish(redis_server, {"recipient_id": "42", "n": 2})
            assert (await received(another, 1))[0]["n"] == 2
        assert len(messages(client)) == 2


async def open_connection(server: NotifyServer) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
    return writer


def open_files(server: NotifyServer) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


# A main host that cannot be asked


async def test_readiness_and_log_say_why_the_main_host_gives_no_answer(
    serve: Serve, redis_server: RedisServer
) -> None:
    """And the node stays ready: who is connected does not need it."""
    url = f"http://127.0.0.1:{free_port()}"
    server = await serve({"auth.main_host.url": url, "redis.url": redis_server.url})
    assert await readiness(server) == (200, {})
    assert (await ask(server, token="token-42")).status == 504
    assert await readiness(server) == (200, {"auth": "Connection refused"})
    await eventually(
        lambda: said(
            server, "main host is failing", 'reason="Connection refused"', f"address={url}"
        )
    )
    assert await metric(server, "aionotify_check_ok", check="auth") == 0
