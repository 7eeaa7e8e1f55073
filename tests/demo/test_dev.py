"""``aionotify serve --dev``: it serves with nothing beside it, and this machine only."""

import importlib.util
import re
import shlex
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.cli.conftest import parsed as parsed
from tests.cli.helpers import Parse
from tests.harness import NotifyServer, SSEClient, eventually, free_port


def printed(server: NotifyServer, start: str) -> list[str]:
    """The words of the line that it has printed to copy."""
    [line] = [line for line in server.logs if line.startswith(start)]
    return shlex.split(line)


async def test_users_of_the_demo_get_what_the_printed_key_publishes(tmp_path: Path) -> None:
    """There is no Redis and no main host, whatever the configuration says; the log is loud."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "redis: {url: 'redis://no-such-host.invalid', wait_replicas: 1}\n"
        "auth: {method: jwt, jwt: {key: '" + "s" * 32 + "', algorithms: [HS256]}}\n"
        "server: {workers: 4, drain: 60, drain_delay: 5}\n"
    )
    async with NotifyServer(file=config, flags=["--dev"]) as server:
        [warning] = [line for line in server.logs if "development mode" in line]
        assert "WARNING" in warning
        assert 'tokens="alice-token bob-token"' in warning
        [_, _, _, header, address] = printed(server, "curl -N")
        assert (header, address) == ("Authorization: Bearer alice-token", f"{server.url}/notify")
        [_, _, header, _, event, address] = printed(server, "curl -H")
        async with (
            aiohttp.ClientSession(headers=dict([header.split(": ")])) as session,
            SSEClient(f"{server.url}/notify", token="alice-token") as alice,
            SSEClient(f"{server.url}/notify", token="bob-token") as bob,
            SSEClient(f"{server.url}/notify", token="eve-token") as eve,
        ):
            assert (alice.status, bob.status, eve.status) == (200, 200, 401)
            async with session.post(address, data=event) as answer:
                assert answer.status == 202
            async with session.get(f"{server.url}/admin/nodes") as answer:
                assert answer.status == 200  # the key allows everything
            await alice.wait_for(lambda events: any("Hello" in each.data for each in events))
            assert not any("Hello" in each.data for each in bob.events)
            assert await server.terminate(10) == 0  # the drain is short, too


async def test_a_name_that_is_not_this_machine_s_gets_nothing() -> None:
    """A page of a site whose name suddenly means 127.0.0.1 cannot use the tokens."""
    async with (
        NotifyServer(flags=["--dev"]) as server,
        aiohttp.ClientSession(headers={"Host": "evil.example"}) as session,
        session.get(f"{server.url}/notify", headers={"Authorization": "Bearer bob-token"}) as got,
    ):
        assert got.status == 421


async def test_a_reload_changes_the_rest_and_keeps_users_and_key(tmp_path: Path) -> None:
    """After SIGHUP the same tokens and the same key are valid."""
    config = tmp_path / "config.yaml"
    config.write_text("stream: {heartbeat: 20}\n")
    async with NotifyServer(file=config, flags=["--dev"]) as server:
        config.write_text("stream: {heartbeat: 5}\nredis: {url: 'redis://other'}\n")
        server.reload()
        await eventually(lambda: any("configuration reloaded" in line for line in server.logs))
        [line] = [line for line in server.logs if "configuration reloaded" in line]
        assert "stream.heartbeat" in line
        assert "redis.url" not in line
        [_, _, header, _, event, address] = printed(server, "curl -H")
        async with (
            SSEClient(f"{server.url}/notify", token="bob-token") as bob,
            aiohttp.ClientSession(headers=dict([header.split(": ")])) as session,
            session.post(address, data=event) as answer,
        ):
            assert (bob.status, answer.status) == (200, 202)


async def test_an_address_for_publishing_is_the_one_that_is_printed() -> None:
    """With admin.port, /publish is there, and the line to copy says so."""
    admin = free_port()
    async with NotifyServer({"admin.port": admin}, flags=["--dev"]) as server:
        assert printed(server, "curl -H")[-1] == f"http://127.0.0.1:{admin}/publish"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--redis.url", "redis://127.0.0.1"], "--dev sets redis.url itself: leave out --redis"),
        (["--auth.method", "jwt"], "--dev sets auth.method itself: leave out --auth.method"),
        (["--auth.jwt.key", "hunter2"], "leave out --auth.jwt.key"),
        (["--server.host", "0.0.0.0"], "server.host: expected 127.0.0.1, ::1 or localhost"),
        (["--server.host", "unix:/tmp/x"], "server.host: expected 127.0.0.1, ::1 or localhost"),
        (["--admin.host", "::", "--admin.port", "0"], "admin.host: expected 127.0.0.1, ::1"),
    ],
    ids=str,
)
def test_flags_that_do_not_go_with_it_are_refused(
    parsed: Parse, words: list[str], said: str
) -> None:
    """In a line that names the flag or the setting."""
    done = parsed("serve", "--dev", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]
    assert "hunter2" not in done.stderr


def test_sockets_of_systemd_are_refused(parsed: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be open to others."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert "not on sockets of systemd" in parsed("serve", "--dev").stderr


def test_without_the_bundled_server_nothing_is_printed_to_copy(
    parsed: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install, and not what to type as if it served."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = parsed("serve", "--dev", "--server.port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the bundled server" in done.stderr.splitlines()[-1]


async def test_ctrl_c_ends_it_at_once() -> None:
    """SIGINT ends it with code 0, and the private server with it."""
    async with NotifyServer(flags=["--dev"]) as server:
        server._running().send_signal(signal.SIGINT)
        assert await server.wait(10) == 0
        assert re.search("stopped", server.logs[-1])
