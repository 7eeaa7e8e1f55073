"""SIGHUP: what is configured anew is in force, or all is as it was; no stream ends of it."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from redis.asyncio import Redis

from aionotify import reload
from tests.auth.jwt_tokens import claims, public_pem, rsa, sign
from tests.embedded import config, embedded
from tests.harness import (
    MainHost,
    Mode,
    NotifyServer,
    RedisServer,
    SSEClient,
    eventually,
    free_port,
)
from tests.integration.conftest import Manager, Serve
from tests.integration.talk import CHANNEL, ask, messages, publish, received, stream
from tests.integration.test_metrics import scrape
from tests.integration.test_process import children, is_alive, listening

OLD, NEW = "old-publisher-key-0123", "new-publisher-key-4567"
WHEN = "aionotify_config_last_reload_success_timestamp_seconds"
DONE, NOT_DONE = "configuration reloaded", "configuration not reloaded"


class File:
    """A configuration file, and what of it is to be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write({})

    def write(self, sections: Mapping[str, Any]) -> None:
        self.write_text(yaml.safe_dump(dict(sections)))

    def write_text(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "aionotify.yaml")


def lines(server: NotifyServer, *parts: str) -> list[str]:
    return [line for line in server.logs if all(part in line for part in parts)]


async def reloaded(server: NotifyServer, outcome: str = DONE) -> str:
    """Have the server reload; return the line that says how that went."""
    before = len(lines(server, outcome))
    server.reload()
    await eventually(lambda: len(lines(server, outcome)) > before)
    return lines(server, outcome)[-1]


async def publishing(
    server: NotifyServer | str, key: str, event: bytes = b'{"recipient_id": 42}'
) -> int:
    """The status of an attempt to publish, over a connection of its own."""
    return (await ask(server, "/publish", "POST", token=key, data=event)).status


# What becomes of streams


async def test_streams_go_on_and_miss_nothing(
    serve: Serve, file: File, redis_server: RedisServer
) -> None:
    server = await serve(file=file.path)
    async with stream(server, "42") as client, stream(server, "43") as other:
        for turn in range(10):
            file.write(
                {"stream": {"retry": 1000 + turn}, "log": {"format": ["text", "json"][turn % 2]}}
            )
            reloading = asyncio.create_task(reloaded(server))
            publish(redis_server, {"recipient_id": "42", "n": turn})
            await reloading
        assert [event["n"] for event in await received(client, 10)] == list(range(10))
        assert (client.end, other.end) == (None, None)
        assert client.retry == 3000  # a stream keeps what it was opened with
        async with stream(server, "42") as newer:
            await newer.wait_for(lambda _: newer.retry == 1009)
    assert await server.terminate() == 0


async def test_durable_events_arrive_once_whatever_is_reloaded_meanwhile(
    serve: Serve, file: File
) -> None:
    server = await serve(
        {"admin.publish_keys": [OLD], "server.max_streams_per_user": 0}, file=file.path
    )
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, "42")) for _ in range(5)]
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {OLD}"}) as session:
            for number in range(100):
                if number % 4 == 0:
                    file.write(
                        {
                            "events": {"max_bytes": 1000 + number},
                            "inbox": {"retention": 1000 + number},
                            "auth": {"main_host": {"path": f"/who/{number}"}},
                            "stream": {"buffer": 4096 + number, "heartbeat": 1 + number / 100},
                        }
                    )
                    server.reload()
                data = json.dumps({"recipient_id": "42", "n": number})
                async with session.post(f"{server.url}/publish", data=data) as response:
                    assert response.status == 202
        for client in clients:
            assert [event["n"] for event in await received(client, 100)] == list(range(100))
            assert len(messages(client)) == 100
            assert client.end is None


# Another password for Redis


def logged_in(redis: RedisServer) -> dict[str, str]:
    """Ids of the server's connections, and what each is for."""
    return {
        each["id"]: each["name"] for each in redis.cli("CLIENT LIST") if each["user"] == "aionotify"
    }


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_password_of_redis_is_replaced_under_open_streams(
    serve: Serve, own_redis: RedisServer, tmp_path: Path, workers: int
) -> None:
    """Every connection is another one then; a wrong password changes none, and is told."""
    url = tmp_path / "address-of-redis"

    def say(password: str) -> None:
        url.write_text(f"redis://aionotify:{password}@127.0.0.1:{own_redis.port}/0\n")

    own_redis.cli("ACL", "SETUSER", "aionotify", "on", ">old", "~*", "&*", "+@all")
    say("old")
    server = await serve(
        {
            "redis.url": None,
            "redis.url_file": str(url),
            "admin.publish_keys": [OLD],
            "server.workers": workers,
            "server.max_streams_per_user": 0,
            "server.drain": 1,
        },
        timeout=30,
    )
    await eventually(lambda: len(listening(server)) == workers)
    published = 0

    async def publish_on() -> None:
        nonlocal published
        while True:
            event = json.dumps({"recipient_id": "42", "n": published}).encode()
            assert await publishing(server, OLD, event) == 202
            published += 1

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, "42")) for _ in range(8)]
        publisher = asyncio.create_task(publish_on())
        try:
            before = logged_in(own_redis)
            assert "aionotify-subscriber" in before.values()
            say("wrong")
            server.reload()
            await eventually(lambda: len(lines(server, "connections not renewed")) == workers)
            assert all("WRONGPASS" in line for line in lines(server, "connections not renewed"))
            assert before.items() <= logged_in(own_redis).items()
            own_redis.cli("ACL", "SETUSER", "aionotify", "resetpass", ">new")
            say("new")
            server.reload()
            await eventually(lambda: len(lines(server, "connections renewed")) == workers)
            await eventually(lambda: not before.keys() & logged_in(own_redis).keys())
            count = published + 10
            await eventually(lambda: published > count or publisher.done())
        finally:
            publisher.cancel()
            await asyncio.wait([publisher])
        assert publisher.cancelled()
        for client in clients:
            got = [event["n"] for event in await received(client, published)]
            assert got[:published] == list(range(published))
            assert client.end is None
            assert not [each for each in client.events if each.event == "aionotify.gap"]
    assert not lines(server, "not subscribed to Redis")
    assert (await ask(server, "/readyz")).status == 200
    assert await server.terminate() == 0


async def test_requirepass_is_changed_under_open_streams(own_redis: RedisServer) -> None:
    """By an application that reloads. Nothing durable is lost, and nothing at all is doubled."""
    own_redis.cli("CONFIG", "SET", "requirepass", "old")
    apps: list[web.Application] = []

    def url(password: str) -> str:
        return own_redis.url.replace("//", f"//:{password}@")

    async with (
        Redis(port=own_redis.port, password="old", single_connection_client=True) as admin,
        embedded(url("old"), apps.append) as (address, services),
        stream(address, "42") as client,
    ):

        async def ours() -> set[str]:
            return {c["id"] for c in await admin.client_list() if c["name"].startswith("aionotify")}

        async def publish_on() -> None:
            for n in itertools.count():
                await services.publisher.publish({"recipient_id": "42", "durable": n})
                event = json.dumps({"recipient_id": "42", "ephemeral": n})
                assert await admin.publish(CHANNEL, event) <= 1
                numbers.append(n)

        async def more() -> None:
            count = len(numbers) + 10
            await eventually(lambda: len(numbers) > count or publisher.done())

        numbers: list[int] = []
        publisher = asyncio.create_task(publish_on())
        before = await ours()
        await admin.config_set("requirepass", "new")
        await reload(apps[0], config(url("wrong")))
        await more()
        assert await ours() == before
        assert await reload(apps[0], config(url("new"))) == ()
        await more()
        assert not await ours() & before
        publisher.cancel()
        await asyncio.wait([publisher])
        assert publisher.cancelled()
        last = len(numbers) - 1
        await client.wait_for(lambda _: {"durable": last} in _got(client))
        got = _got(client)
        durable = [each["durable"] for each in got if "durable" in each]
        ephemeral = [each["ephemeral"] for each in got if "ephemeral" in each]
        assert durable == list(range(len(durable)))
        assert ephemeral == sorted(set(ephemeral))
        assert client.end is None
        assert services.stats.redis_losses == 0


def _got(client: SSEClient) -> list[dict[str, int]]:
    """The events without their recipient, which is the same."""
    found = [json.loads(event.data) for event in messages(client)]
    return [{k: n for k, n in each.items() if k != "recipient_id"} for each in found]


# What is in force afterwards


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_publish_key_is_replaced_in_every_worker(
    serve: Serve, tmp_path: Path, workers: int
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(OLD)
    settings = {"admin.publish_keys_file": str(keys), "server.workers": workers, "server.drain": 1}
    server = await serve(settings, timeout=30)
    await eventually(lambda: len(listening(server)) == workers)
    assert await publishing(server, OLD) == 202
    keys.write_text(NEW)
    assert "changed=admin.publish_keys" in await reloaded(server)
    statuses = [(await publishing(server, OLD), await publishing(server, NEW)) for _ in range(12)]
    assert set(statuses) == {(401, 202)}
    assert not any(key in str(server) for key in (OLD, NEW))
    assert await server.terminate() == 0


async def test_the_key_of_tokens_is_replaced(serve: Serve, tmp_path: Path) -> None:
    """Who comes with a token of the old key is refused, and so is who came with one before."""
    key = tmp_path / "key.pem"
    key.write_text(public_pem(rsa("old")))
    settings = {
        "auth.method": "jwt",
        "auth.jwt.key_file": str(key),
        "auth.jwt.algorithms": ["RS256"],
        "server.drain": 0,
    }
    server = await serve(settings)
    old, new = (sign(rsa(name), "RS256", claims(sub="42")) for name in ("old", "new"))

    def opened(token: str) -> SSEClient:
        return SSEClient(f"{server.url}/notify", token=token)

    async with opened(old) as client:
        await reloaded(server)
        assert client.end is None
        key.write_text(public_pem(rsa("new")))
        assert "changed=auth.jwt.key" in await reloaded(server)
        assert await client.wait_end() == "complete"
        assert client.events[-1].event == "aionotify.expired"
        assert (await ask(server, token=old)).code == "invalid_token"
        async with opened(new) as other:
            assert other.status == 200
            await reloaded(server)
            assert other.end is None
    assert not any(secret in str(server) for secret in (old, new, "BEGIN PUBLIC KEY"))


async def test_another_one_can_be_asked_whose_a_token_is(
    serve: Serve, file: File, main_host: MainHost
) -> None:
    """From the main host to JWTs and back; streams whose token counts no more end."""
    pem = public_pem(rsa("new"))
    token = sign(rsa("new"), "RS256", claims(sub="42"))
    server = await serve({"server.drain": 0, "auth.jwt.algorithms": ["RS256"]}, file=file.path)
    async with stream(server, "42") as first:
        file.write({"auth": {"method": "jwt", "jwt": {"key": pem}}})
        await reloaded(server)
        assert await first.wait_end() == "complete"
        assert first.events[-1].event == "aionotify.expired"
        assert (await ask(server, token="token-42")).code == "invalid_token"
        async with SSEClient(f"{server.url}/notify", token=token) as second:
            assert second.status == 200
            file.write({})
            await reloaded(server)
            assert await second.wait_end() == "complete"
    async with stream(server, "42") as third:
        assert third.status == 200


async def test_an_authority_that_cannot_be_asked_ends_no_stream(
    serve: Serve, file: File, redis_server: RedisServer
) -> None:
    settings = {"server.drain": 0, "auth.method": "jwt", "auth.jwt.algorithms": ["RS256"]}
    file.write({"auth": {"jwt": {"key": public_pem(rsa("new"))}}})
    server = await serve(settings, file=file.path)
    token = sign(rsa("new"), "RS256", claims(sub="42"), kid="new")
    async with SSEClient(f"{server.url}/notify", token=token) as client:
        file.write({"auth": {"jwt": {"jwks_url": f"http://127.0.0.1:{free_port()}/keys"}}})
        await reloaded(server)
        await eventually(lambda: lines(server, "jwks address is failing"))  # asked about the stream
        assert (await ask(server, token=token)).code == "auth_unavailable"
        publish(redis_server, {"recipient_id": "42"})
        await received(client, 1)
        assert client.end is None


async def test_a_main_host_that_fails_is_no_reason_to_forget_what_it_said(
    serve: Serve, file: File, main_host: MainHost
) -> None:
    """Whoever raises stale_if_error does so while it fails."""
    server = await serve({"auth.main_host.cache_ttl": 0, "server.drain": 0}, file=file.path)
    async with stream(server, "42"):
        main_host.mode = Mode.DOWN
        file.write({"auth": {"main_host": {"stale_if_error": 86400}}})
        await reloaded(server)
        async with stream(server, "42") as client:
            assert client.status == 200
        assert (await ask(server, token="token-43")).code == "auth_unavailable"


@pytest.mark.parametrize("change", [{"timeout": 5.0}, {"path": "/other"}])
async def test_a_request_that_waits_for_the_main_host_is_answered(
    serve: Serve, file: File, main_host: MainHost, change: dict[str, Any]
) -> None:
    server = await serve(file=file.path)
    main_host.mode = Mode.SLOW
    client = stream(server, "42")
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: main_host.asked)
    file.write({"auth": {"main_host": change}})
    await reloaded(server)
    main_host.mode = Mode.OK
    await connecting
    assert client.status == 200
    await client.close()


async def test_a_setting_that_takes_a_restart_is_named_and_the_others_are_in_force(
    serve: Serve, file: File, redis_server: RedisServer
) -> None:
    settings = {"admin.publish_keys": [OLD]}
    server = await serve(settings, file=file.path)
    password = "hunter2-is-a-password"
    other = free_port()
    file.write(
        {
            "admin": {"port": other},
            "redis": {"prefix": "other", "data_dir": f"/{password}"},
            "events": {"max_bytes": 256},
        }
    )
    for turn in range(1, 3):  # each time, for as long as they wait
        assert "changed=events.max_bytes" in await reloaded(server) or turn == 2
        [*_, told] = lines(server, "settings need a restart")
        assert " WARNING " in told
        assert told.endswith('settings="admin.port redis.prefix redis.data_dir"')
        assert len(lines(server, "settings need a restart")) == turn
    async with stream(server, "42") as client:
        assert await publishing(server, OLD) == 202
        assert (
            await publishing(
                server, OLD, json.dumps({"recipient_id": "42", "x": "x" * 256}).encode()
            )
            == 400
        )
        assert await received(client, 1) == [{"recipient_id": 42}]
    assert redis_server.cli("EXISTS", "aionotify:{42}:inbox") == 1
    assert password not in str(server)


async def test_limits_and_origins_are_in_force_at_once(serve: Serve, file: File) -> None:
    server = await serve(file=file.path)
    page = {"Origin": "https://app.example.com"}
    async with stream(server, "42"):
        file.write({"server": {"max_streams_per_user": 1}})
        await reloaded(server)
        assert (await ask(server, token="token-42", headers=page)).code == "too_many_streams"
        file.write({"server": {"max_streams": 1}, "cors": {"origins": ["https://app.example.com"]}})
        await reloaded(server)
        answer = await ask(server, token="token-43", headers=page)
        assert answer.code == "node_full"
        assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
        file.write({"server": {"max_streams_per_address": 1}})
        await reloaded(server)
        async with stream(server, "43"):
            assert (await ask(server, token="token-44")).code == "too_many_streams"
            file.write({})
            await reloaded(server)
            async with stream(server, "44") as client:
                assert client.status == 200


async def test_drain_takes_as_long_as_is_configured_now(serve: Serve, file: File) -> None:
    server = await serve({}, file=file.path)
    async with stream(server, "42") as client:
        file.write({"server": {"drain": 0.25}})
        await reloaded(server)
        assert await server.terminate() == 0
        assert lines(server, "draining seconds=0.25")
        assert await client.wait_end() == "complete"


async def test_the_log_is_as_configured_then_whatever_sigusr1_has_changed(
    serve: Serve, file: File
) -> None:
    server = await serve(file=file.path)

    async def refusal(id: str) -> None:
        assert (await ask(server, headers={"X-Request-ID": id})).status == 403

    os.kill(server.pid, signal.SIGUSR1)
    await eventually(lambda: lines(server, "log level changed", "level=debug"))
    await refusal("loud")
    await reloaded(server)
    await refusal("quiet")
    file.write({"log": {"level": "debug", "format": "json"}})
    told = json.loads(await reloaded(server))
    assert told["fields"] == {"changed": "log.level log.format"}
    await refusal("loud-again")
    await eventually(lambda: lines(server, "loud-again"))
    assert lines(server, '"loud"') or lines(server, "request=loud ")
    assert not lines(server, "quiet")
    os.kill(server.pid, signal.SIGUSR1)  # what is usual is debug now, so it goes to info
    await eventually(lambda: lines(server, "log level changed", '"level": "info"'))


# What is refused


def start_with(file: File) -> list[str]:
    """Try to start another server; return what it says is wrong."""
    # Not at its usual port: somebody on this machine may be looking at the demo.
    flags = ["--config", str(file.path), "--server.port", "0"]
    command = [sys.executable, "-m", "aionotify", "serve", *flags]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    return [line.strip() for line in done.stderr.partition("is not usable:")[2].split("\n  ")[1:]]


def outcome(server: NotifyServer, expected: list[float]) -> Callable[[], Awaitable[bool]]:
    """Whether the metrics of each worker say so of the last reload."""

    async def told() -> bool:
        samples = (await scrape(server.url))["aionotify_config_last_reload_successful"]
        return list(samples.values()) == expected

    return told


WRONG: dict[str, tuple[str, str]] = {
    "no YAML": ("server: {drain: 1", "line 3, column 1: expected ',' or '}'"),
    "an unknown key": (
        "stream: {hartbeat: 1}",
        "stream.hartbeat: unknown; did you mean heartbeat?",
    ),
    "another type": ("stream: {heartbeat: soon}", "stream.heartbeat: expected a number of"),
    "two at once": ("stream: {heartbeat: x, retry: x}", "stream.retry: expected a whole number"),
    "a contradiction": ("auth: {method: jwt}", "auth.jwt: expected exactly one of key, key_file"),
    "a key that is none": (
        "auth: {method: jwt, jwt: {key: '{sEcReT', algorithms: [RS256]}}",
        "auth.jwt.key: expected a key in PEM or JWK form",
    ),
    "a key that is too short": (
        "auth: {method: jwt, jwt: {key: sEcReT-sEcReT-sEcReT, algorithms: [HS256]}}",
        "auth.jwt.key: expected a secret of at least 32 bytes",
    ),
    "a key file that is not there": (
        "auth: {method: jwt, jwt: {key_file: /nonexistent/key, algorithms: [RS256]}}",
        "auth.jwt.key_file: cannot be read: No such file or directory",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_configuration_that_cannot_be_used_changes_nothing_and_is_told_as_at_a_start(
    serve: Serve, file: File, redis_server: RedisServer, wrong: str, workers: int
) -> None:
    text, problem = WRONG[wrong]
    file.write({"admin": {"publish_keys": [OLD]}})
    settings = {"server.workers": workers, "server.drain": 1}
    server = await serve(settings, file=file.path, timeout=30)
    await eventually(lambda: len(listening(server)) == workers)
    file.write_text(f"admin: {{publish_keys: [{NEW}]}}\n{text}\n")
    async with stream(server, "42") as client:
        line = await reloaded(server, NOT_DONE)
        assert f" ERROR aionotify.process.reload: {NOT_DONE} " in line
        assert problem in line
        assert len(lines(server, " ERROR ")) == 1
        if not wrong.startswith("a key"):
            assert f"source={file.path}" in line
        assert await publishing(server, OLD) == 202
        assert await publishing(server, NEW) == 401
        await received(client, 1)

        await eventually(outcome(server, [0.0] * workers))
    problems = start_with(file)
    reason = re.search(r'reason=(".*")', line)
    assert reason
    assert json.loads(reason[1]) == "; ".join(problems)
    assert "sEcReT" not in str(server)
    assert not any(key in str(server) for key in (OLD, NEW))
    assert await server.terminate() == 0


async def test_a_configuration_that_was_refused_and_is_put_right_is_in_force(
    serve: Serve, file: File
) -> None:
    server = await serve(file=file.path)
    [before] = (await scrape(server.url))[WHEN].values()
    file.write_text("server: {drain: 1")
    await reloaded(server, NOT_DONE)
    assert list((await scrape(server.url))[WHEN].values()) == [before]
    file.write({"admin": {"publish_keys": [NEW]}})
    await reloaded(server)
    assert await publishing(server, NEW) == 202
    await eventually(outcome(server, [1.0]))
    [after] = (await scrape(server.url))[WHEN].values()
    assert after > before


async def test_a_file_that_is_gone_is_no_configuration(serve: Serve, file: File) -> None:
    server = await serve(file=file.path)
    file.path.unlink()
    line = await reloaded(server, NOT_DONE)
    assert f'source={file.path} reason="file: cannot be read: No such file or directory"' in line


# Workers


async def test_a_worker_that_comes_later_goes_by_what_was_reloaded(
    serve: Serve, tmp_path: Path
) -> None:
    """And not by what is in a file that was changed since."""
    key = tmp_path / "key.pem"
    key.write_text(public_pem(rsa("old")))
    settings = {
        "server.workers": 2,
        "server.drain": 1,
        "auth.method": "jwt",
        "auth.jwt.key_file": str(key),
        "auth.jwt.algorithms": ["RS256"],
    }
    server = await serve(settings, timeout=30)
    await eventually(lambda: len(listening(server)) == 2)
    key.write_text(public_pem(rsa("new")))
    await reloaded(server)
    key.write_text("this is no key")
    await reloaded(server, NOT_DONE)
    for victim in children(server.pid):
        os.kill(victim, signal.SIGKILL)
    await eventually(lambda: len(listening(server)) == 4, 30)
    token = sign(rsa("new"), "RS256", claims(sub="42"))
    for _ in range(8):
        async with SSEClient(f"{server.url}/notify", token=token) as client:
            assert client.status == 200
    await eventually(outcome(server, [0.0, 0.0]))
    assert await server.terminate() == 0


async def test_a_worker_does_as_its_parent_says_and_not_as_the_signal(serve: Serve) -> None:
    """`systemctl kill`, or a terminal that is closed, signals all processes."""
    server = await serve({"server.workers": 2, "server.drain": 1}, timeout=30)
    await eventually(lambda: len(listening(server)) == 2)
    workers = children(server.pid)
    for pid in (*workers, server.pid):
        os.kill(pid, signal.SIGHUP)
    await eventually(lambda: lines(server, DONE))
    os.kill(min(workers), signal.SIGKILL)
    await eventually(lambda: len(children(server.pid) | workers) == 3)
    [new] = children(server.pid) - workers
    os.kill(new, signal.SIGHUP)  # it is still importing modules
    await eventually(lambda: len(listening(server)) == 3, 30)
    assert is_alive(new)
    assert len(lines(server, DONE)) == 1
    assert await server.terminate() == 0


async def test_a_worker_that_dies_before_it_has_reloaded_is_replaced(
    serve: Serve, file: File, manager: Manager
) -> None:
    server = await serve({"server.workers": 2, "server.drain": 1}, file=file.path, timeout=30)
    await eventually(lambda: manager.told("READY=1") == 1)
    file.write({"admin": {"publish_keys": [NEW]}})
    victim = min(children(server.pid))
    os.kill(victim, signal.SIGSTOP)
    server.reload()
    await eventually(lambda: any(state.startswith("RELOADING=1") for state in manager.states))
    assert not lines(server, DONE)  # not while one is still to follow
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: len(listening(server)) == 3, 30)
    for _ in range(8):
        assert await publishing(server, NEW) == 202
    assert len(lines(server, DONE)) == 1
    assert await server.terminate() == 0


# When the signal comes


def hears_hangup(pid: int) -> bool:
    """Whether SIGHUP would not end a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"Sig(?:Blk|Cgt):\s+([0-9a-f]+)", status)
    return any(int(mask, 16) >> (signal.SIGHUP - 1) & 1 for mask in masks)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_during_the_start_is_obeyed_after_it(
    serve: Serve, file: File, workers: int
) -> None:
    settings = {"server.workers": workers, "server.drain": 1}
    server = await serve(settings, until=None, file=file.path)
    await eventually(lambda: hears_hangup(server.pid))
    file.write({"admin": {"publish_keys": [NEW]}})
    server.reload()
    await eventually(lambda: lines(server, DONE), 30)
    await eventually(lambda: len(listening(server)) == workers)
    assert await publishing(server, NEW) == 202
    assert await server.terminate() == 0


async def test_of_many_signals_the_last_one_counts(serve: Serve, file: File) -> None:
    server = await serve(file=file.path)
    for number in range(50):
        file.write({"admin": {"publish_keys": [f"publisher-key-of-turn-{number}"]}})
        server.reload()
        if number % 10 == 0:
            await eventually(lambda: lines(server, DONE))
    await eventually(lambda: _accepts(server, "publisher-key-of-turn-49"))
    assert len(lines(server, DONE)) <= 51
    assert await server.terminate() == 0


async def _accepts(server: NotifyServer, key: str) -> bool:
    return await publishing(server, key) == 202


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_is_ending_reloads_no_more(
    serve: Serve, file: File, workers: int
) -> None:
    server = await serve({"server.drain": 2, "server.workers": workers}, file=file.path, timeout=30)
    await eventually(lambda: len(listening(server)) == workers)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stream(server, str(n))) for n in range(10)]
        os.kill(server.pid, signal.SIGTERM)
        await eventually(lambda: len(lines(server, "draining")) == workers)
        server.reload()
        await eventually(lambda: lines(server, "reload ignored, the server is stopping"))
        assert await server.wait() == 0
        assert not lines(server, DONE)
        for client in clients:
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.drain"


# What the service manager is told


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_service_manager_is_told_of_each_reload_and_why_one_failed(
    serve: Serve, file: File, manager: Manager, workers: int
) -> None:
    server = await serve({"server.workers": workers, "server.drain": 1}, file=file.path, timeout=30)
    await eventually(lambda: manager.told("READY=1") == 1)
    file.write_text("stream: {hartbeat: 1}")
    await reloaded(server, NOT_DONE)
    await eventually(lambda: manager.told("READY=1") == 2)
    reloading = next(state for state in manager.states if state.startswith("RELOADING=1"))
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
    assert manager.states.index(reloading) < manager.states.index("READY=1")

    def status() -> str:
        return [state for state in manager.states if state.startswith("STATUS=")][-1]

    why = (
        rf"Not reloaded at \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\dZ: {file.path}: stream.hartbeat: unknown"
    )
    await eventually(lambda: re.search(why, status()))
    assert status().count("subscribed to Redis") == workers
    file.write({})
    await reloaded(server)
    await eventually(lambda: "Not reloaded" not in status())
    assert status().count("subscribed to Redis") == workers
    assert await server.terminate() == 0
