"""The units for systemd: what they say, and what systemd says to them."""

import os
import re
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from aionotify.cli.systemd import rendered
from aionotify.config import Config, ServerConfig
from tests.deploy.node import REPOSITORY, SOURCE, Node, variables
from tests.deploy.proxies import service
from tests.harness import MainHost, RedisServer, SSEClient, eventually, free_port

UNITS = ("aionotify.service", "aionotify.socket")
INSTALLED = "/opt/aionotify/bin/aionotify"


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Files with the units that we ship, for a command that exists here."""
    for name in UNITS:
        text = (REPOSITORY / "scripts" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace(INSTALLED, "/bin/true"))
    return [str(tmp_path / name) for name in UNITS]


def analyzed(*words: str) -> str:
    done = subprocess.run(
        [service("systemd-analyze"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def printed(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SOURCE, "systemd", *words],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environ},
        capture_output=True,
        text=True,
        check=True,
    )


def test_systemd_has_nothing_to_say_against_the_units(units: list[str]) -> None:
    assert analyzed("verify", *units) == ""


def test_the_sandbox_leaves_little_exposed(units: list[str]) -> None:
    told = analyzed("security", "--offline=true", "--no-pager", units[0])
    exposure = re.search(r"exposure level for aionotify.service: ([\d.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) <= 2.0


@pytest.mark.parametrize("unit", ["service", "socket"])
def test_the_units_that_we_ship_are_those_that_are_printed(unit: str) -> None:
    """For an installation as docs/deployment.rst has it."""
    shipped = (REPOSITORY / f"scripts/aionotify.{unit}").read_text("utf-8")
    assert shipped == rendered(unit, Config(), [INSTALLED], "/etc/aionotify/config.yaml")


def test_a_stop_has_time_for_the_drain() -> None:
    config = Config(server=ServerConfig(drain=45.5))
    assert "TimeoutStopSec=76\n" in rendered("service", config, [INSTALLED])


def test_words_with_a_meaning_to_systemd_are_quoted() -> None:
    text = rendered("service", Config(), ["/opt/a b/100%/$x"], '/etc/a"b')
    assert 'ExecStart="/opt/a b/100%%/$$x" serve --config "/etc/a\\"b"\n' in text


@pytest.mark.parametrize(
    ("host", "listens"),
    [
        ("127.0.0.1", "ListenStream=127.0.0.1:8001\n"),
        ("::", "ListenStream=[::]:8001\n"),
        ("unix:/run/aionotify.sock", "ListenStream=/run/aionotify.sock\n"),
    ],
)
def test_the_socket_is_where_the_server_would_listen(host: str, listens: str) -> None:
    assert listens in rendered("socket", Config(server=ServerConfig(host=host)), [INSTALLED])


def test_the_command_prints_both_units_for_this_installation(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {port: 9000}\n")
    done = printed("--config", str(config))
    assert f" serve --config {config}\n" in done.stdout
    assert "ListenStream=127.0.0.1:9000\n" in done.stdout
    assert re.findall("^# (/etc/systemd/system/.*)$", done.stdout, re.MULTILINE) == [
        f"/etc/systemd/system/{name}" for name in UNITS
    ]
    assert "to write them, use --output /etc/systemd/system" in done.stderr


def test_one_unit_can_be_printed_into_its_file() -> None:
    assert printed("socket").stdout == rendered("socket", Config(), list(SOURCE))


@pytest.mark.parametrize("words", [(), ("service",), ("socket",)])
def test_units_are_written_into_their_files(tmp_path: Path, words: tuple[str, ...]) -> None:
    """All or one; over those that are there, and readable for all even with a umask of root's."""
    written = [name for name in UNITS if not words or name.endswith(words[0])]
    for name in written:
        (tmp_path / "earlier").write_text("of an earlier version\n" * 1000)
        (tmp_path / name).symlink_to("earlier")
    umask = os.umask(0o077)
    try:
        done = printed(*words, "--output", str(tmp_path))
    finally:
        os.umask(umask)
    assert done.stdout.split() == [str(tmp_path / name) for name in written]
    assert sorted(os.listdir(tmp_path)) == sorted([*written, "earlier"])
    assert (tmp_path / "earlier").read_text().startswith("of an earlier version\n")
    for name in written:
        text = printed(name.removeprefix("aionotify.")).stdout
        assert (tmp_path / name).read_text("utf-8") == text
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


def test_a_directory_that_cannot_be_written_to_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        printed("--output", str(tmp_path / "no"))
    assert caught.value.returncode == 1
    assert caught.value.stderr == f"aionotify: {tmp_path / 'no'}: No such file or directory\n"


def test_printing_units_says_what_the_service_could_not_read() -> None:
    """Rather than to let systemd say: status=203/EXEC."""
    with tempfile.NamedTemporaryFile(dir="/tmp") as config:
        told = printed("--config", config.name).stderr
    assert f"cannot read {config.name}: the service has a /tmp of its own\n" in told


async def test_service_serves_on_the_socket_that_systemd_has_opened(
    redis_server: RedisServer, main_host: MainHost
) -> None:
    """systemd-socket-activate starts it when the first connection comes in."""
    settings = {"redis.url": redis_server.url, "auth.main_host.url": main_host.url}
    passed = [f"--setenv={name}={value}" for name, value in variables(settings).items()]
    port = free_port()
    activate = (service("systemd-socket-activate"), f"--listen=127.0.0.1:{port}", *passed)
    async with Node({}, command=[*activate, *SOURCE]) as node:
        await node.start(until=None)
        await eventually(lambda: is_listened_on(port))
        async with SSEClient(f"http://127.0.0.1:{port}/notify", token="token-42") as client:
            redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": "42", "n": 1}')
            await client.wait_for(lambda events: any('"n": 1' in each.data for each in events))
            assert await node.end() == 0
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.drain"


def is_listened_on(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
