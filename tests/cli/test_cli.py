"""The command line, as a real process: what it prints, where, and how it ends."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aionotify._version import __version__
from aionotify.cli import main
from aionotify.config import SETTINGS
from tests.harness import MainHost, RedisServer, free_port

ROOT = Path(__file__).parents[2]
Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


@pytest.fixture
def aionotify(tmp_path: Path) -> Run:
    """Run ``aionotify`` in a directory of its own, where variables of ours are not set."""

    def run(
        *argv: str,
        environ: Mapping[str, str] | None = None,
        stdin: str = "",
        stdout: int = subprocess.PIPE,
    ) -> Result:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
        return subprocess.run(
            [sys.executable, "-m", "aionotify", *argv],
            env={**clean, "PYTHONPATH": str(ROOT), **(environ or {})},
            cwd=tmp_path,
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@dataclass(frozen=True, slots=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


Parse = Callable[..., Outcome]


@pytest.fixture
def parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Parse:
    """Like `aionotify`, but in this process: for what ends before anything has started."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AIONOTIFY_")]:
        monkeypatch.delenv(name)

    def run(*argv: str) -> Outcome:
        try:
            code = main(argv)
        except SystemExit as ended:  # argparse's way
            code = int(ended.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


def test_the_version_is_the_packages(aionotify: Run) -> None:
    result = aionotify("--version")
    assert (result.returncode, result.stdout) == (0, f"aionotify {__version__}\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["server"], "invalid choice: 'server'"),
        (["serve", "extra"], "unknown argument extra"),
        (["serve", "--server.prot", "1"], "--server.prot; did you mean --server.port?"),
        (["check", "--redis.ulr=x"], "unknown argument --redis.ulr; did you mean --redis.url?"),
        (["serve", "--server-port", "1"], "--server-port; did you mean --server.port?"),
        (["serve", "--server.max-streams=1"], "did you mean --server.max_streams?"),
        (["serve", "--port", "1"], "--port; did you mean --server.port or --admin.port?"),
        (["serve", "--confg", "x"], "unknown argument --confg; did you mean --config?"),
        (["serve", "--cors.zebra", "x"], "unknown argument --cors.zebra; known here: origins"),
        (["serve", "--conf", "x"], "unknown argument --conf"),
        (["serve", "--server.port"], "argument --server.port: expected one argument"),
        (["publish", "42", "text"], "argument DATA: is not JSON; a text needs quotes of its own"),
        (
            ["publish", "--event", "a"],
            "without RECIPIENT the whole event comes from standard input",
        ),
        (["listen", "--url", "localhost"], "the url of a stream begins with http:// or https://"),
        (["listen", "--server.host", "unix:/a"], "give the --url of the proxy before it"),
    ],
)
def test_wrong_usage_is_told_in_a_line_and_exits_2(
    parsed: Parse, argv: list[str], message: str
) -> None:
    result = parsed(*argv)
    assert result.returncode == 2
    assert message in " ".join(result.stderr.split("\n")[-2:])
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_value_of_an_unknown_flag_is_not_repeated(aionotify: Run) -> None:
    result = aionotify("serve", "--admin.publish_key=hunter2", "hunter2")
    assert (
        "unknown argument --admin.publish_key; did you mean --admin.publish_keys?" in result.stderr
    )
    assert "hunter2" not in result.stderr


def test_a_wrong_configuration_is_one_block_and_exits_2(aionotify: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  port: x\n  prot: 1\n")
    result = aionotify("serve", environ={"AIONOTIFY_LOG__LEVEL": "loud"})
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "aionotify: config.yaml is not usable:\n"
        "  log.level: expected one of debug, info, warning, error, got 'loud'"
        " (AIONOTIFY_LOG__LEVEL)\n"
        "  server.port: expected a whole number from 0 to 65535, got 'x'\n"
        "  server.prot: unknown; did you mean port?\n"
    )


@pytest.mark.parametrize(
    ("argv", "environ", "port"),
    [
        ([], {}, "here"),
        ([], {"AIONOTIFY_CONFIG": "variable.yaml"}, "variable"),
        (["--config", "flag.yaml"], {"AIONOTIFY_CONFIG": "variable.yaml"}, "flag"),
        (["--config", "flag.yaml", "--server.port", "last"], {}, "last"),
    ],
)
def test_the_configuration_file_is_the_nearest_named(
    parsed: Parse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    environ: dict[str, str],
    port: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for name, value in (("config", "here"), ("variable", "variable"), ("flag", "flag")):
        (tmp_path / f"{name}.yaml").write_text(f"server: {{port: {value}}}\n")
    assert f"got '{port}'" in parsed("serve", *argv).stderr


def test_a_configuration_file_that_is_named_has_to_be_there(
    parsed: Parse,
) -> None:
    result = parsed("serve", "--config", "no.yaml")
    assert result.returncode == 2
    assert "no.yaml is not usable" in result.stderr


def test_the_help_of_serve_has_every_setting_and_what_it_does(
    parsed: Parse,
) -> None:
    result = parsed("serve", "--help")
    text = " ".join(result.stdout.split())
    assert result.returncode == 0
    for path, item in SETTINGS.items():
        assert f"--{path} VALUE {item.does} (default {item.default_text})" in text


@pytest.mark.parametrize("command", ["serve", "demo", "publish", "listen", "check"])
def test_the_help_of_a_command_is_short_and_starts_with_what_it_does(
    parsed: Parse, command: str
) -> None:
    result = parsed(command, "--help")
    usage, does, *_ = result.stdout.split("\n\n")
    assert usage.startswith(f"usage: aionotify {command}")
    assert len(usage) < 250
    assert does.endswith(".")
    assert command == "serve" or "--server.port" not in result.stdout


def test_a_taken_port_is_told_in_a_line_and_exits_1(aionotify: Run, main_host: MainHost) -> None:
    result = aionotify("serve", "--server.port", str(main_host.port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"aionotify: cannot listen on 127.0.0.1 port {main_host.port}: it is in use;"
        " choose another, or stop what listens there\n"
    )


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            ("--redis.url", "embedded://", "--redis.data_dir", "/dev/null/data"),
            "redis.data_dir: /dev/null/data: Not a directory",
        ),
        (
            (
                *("--auth.method", "jwt", "--auth.jwt.algorithms", "RS256"),
                *("--auth.jwt.key_file", "/nonexistent"),
            ),
            "auth.jwt.key_file: cannot be read",
        ),
    ],
)
def test_what_only_the_start_can_show_is_told_in_the_same_way(
    aionotify: Run, settings: tuple[str, ...], problem: str
) -> None:
    result = aionotify("serve", "--server.port", "0", *settings)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"aionotify: configuration is not usable:\n  {problem}")
    assert "Traceback" not in result.stderr


# publish


def published(redis: RedisServer, recipient: str) -> list[Any]:
    entries = redis.cli("LRANGE", f"aionotify:{{{recipient}}}:inbox", 0, -1)
    return [json.loads(entry.split(" ", 2)[2]) for entry in entries]


def test_an_event_is_published_durably(aionotify: Run, redis_server: RedisServer) -> None:
    result = aionotify(
        *("publish", "42", '{"order": 7}', "--event", "order.shipped", "--id", "order-7"),
        *("--redis.url", redis_server.url),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "id": json.loads(result.stdout)["id"],
        "online": False,
        "repeated": False,
    }
    assert published(redis_server, "42") == [
        {
            "recipient_id": "42",
            "event": "order.shipped",
            "id": "order-7",
            "data": {"order": 7},
        }
    ]


def test_the_same_id_is_not_published_again(aionotify: Run, redis_server: RedisServer) -> None:
    argv = ("publish", "42", "--id", "once", "--redis.url", redis_server.url)
    first, second = (json.loads(aionotify(*argv).stdout) for _ in range(2))
    assert (first["repeated"], second["repeated"]) == (False, True)
    assert first["id"] == second["id"]


@pytest.mark.parametrize(
    "stdin",
    [
        '{"recipient_id": 1, "n": 1}\n\n{"recipient_id": 1, "n": 2}\n',
        '[{"recipient_id": 1, "n": 1},\n {"recipient_id": 1, "n": 2}]',
    ],
)
def test_events_are_read_from_standard_input(
    aionotify: Run, redis_server: RedisServer, stdin: str
) -> None:
    result = aionotify("publish", "--redis.url", redis_server.url, stdin=stdin)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2
    assert [event["n"] for event in published(redis_server, "1")] == [1, 2]


def test_a_bad_event_is_told_by_its_number_and_the_others_are_published(
    aionotify: Run, redis_server: RedisServer
) -> None:
    stdin = '{"recipient_id": 1}\n{"recipient": "hunter2"}\nnonsense\n{"recipient_id": 1}\n'
    result = aionotify("publish", "--redis.url", redis_server.url, stdin=stdin)
    assert result.returncode == 1
    assert len(published(redis_server, "1")) == len(result.stdout.splitlines()) == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["event 2", "event 3"]
    assert "hunter2" not in result.stderr


@pytest.mark.parametrize("stdin", ["\n", "[]"])
def test_no_event_at_all_is_an_error(aionotify: Run, stdin: str) -> None:
    result = aionotify("publish", stdin=stdin)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch("aionotify: .*body: (is empty|holds no event)\n", result.stderr)


def test_an_ephemeral_event_is_told_to_whoever_listens_and_not_kept(
    aionotify: Run, redis_server: RedisServer
) -> None:
    result = aionotify("publish", "42", "--ephemeral", "--redis.url", redis_server.url)
    assert (result.returncode, json.loads(result.stdout)) == (0, {"nodes": 0})
    assert redis_server.cli("DBSIZE") == 0


def test_publishing_without_redis_is_told_in_a_line_and_exits_1(aionotify: Run) -> None:
    result = aionotify("publish", "42", "--redis.url", f"redis://:hunter2@127.0.0.1:{free_port()}")
    assert result.returncode == 1
    assert result.stderr.startswith("aionotify: event 1: Redis is not available: ")
    assert len(result.stderr.splitlines()) == 1
    assert "hunter2" not in result.stderr


def test_the_embedded_server_of_another_process_cannot_be_published_to(aionotify: Run) -> None:
    result = aionotify("publish", "42", "--redis.url", "embedded://")
    assert result.returncode == 2
    assert "redis.url: embedded:// belongs to the process of the server" in result.stderr


def test_a_reader_of_the_output_that_leaves_is_no_reason_for_a_traceback(
    aionotify: Run, redis_server: RedisServer
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = aionotify("publish", "42", "--redis.url", redis_server.url, stdout=writing)
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")


# check


def checked(result: Result) -> dict[str, str]:
    return {each["check"]: each["status"] for each in json.loads(result.stdout)}


def test_check_finds_what_is_there(
    aionotify: Run, durable_redis: RedisServer, main_host: MainHost
) -> None:
    settings = ("--redis.url", durable_redis.url, "--auth.main_host.url", main_host.url)
    result = aionotify("check", "--json", "--server.max_streams", "10", *settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert checked(result) == dict.fromkeys(
        (
            *("configuration", "open files", "redis", "redis version", "redis memory"),
            *("redis persistence", "redis pub/sub", "main host"),
        ),
        "ok",
    )
    assert durable_redis.cli("DBSIZE") == 0


def test_check_says_what_to_do_about_what_is_not_there(aionotify: Run) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    settings = (
        "--redis.url",
        f"redis://:hunter2@{nobody}",
        "--auth.main_host.url",
        f"http://{nobody}",
    )
    result = aionotify("check", *settings)
    assert (result.returncode, result.stderr) == (1, "")
    assert f"failed   redis: redis://{nobody}/0: Redis is not available: " in result.stdout
    assert "         -> start it, or correct redis.url;" in result.stdout
    assert f"failed   main host: http://{nobody}/api/v1/is_user_auth/: " in result.stdout
    assert "it must answer 401 or 403 to a bad token" in result.stdout
    assert "hunter2" not in result.stdout


def test_a_variable_that_lacks_an_underscore_is_told_of(
    aionotify: Run, redis_server: RedisServer, main_host: MainHost
) -> None:
    """By ``check``, and by ``serve`` as it starts; its value, which may be a key, is not."""
    environ = {"AIONOTIFY_REDIS_URL": "redis://:hunter2@host"}
    settings = ("--redis.url", redis_server.url, "--auth.main_host.url", main_host.url)
    result = aionotify("check", *settings, environ=environ)
    assert result.returncode == 0
    assert (
        "warning  environment: AIONOTIFY_REDIS_URL is not read\n"
        "         -> rename it to AIONOTIFY_REDIS__URL\n"
    ) in result.stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        served = aionotify("serve", "--server.port", port, *settings, environ=environ)
    [warning] = [
        line for line in served.stderr.splitlines() if "environment variable ignored" in line
    ]
    assert "WARNING" in warning
    assert "variable=AIONOTIFY_REDIS_URL expected=AIONOTIFY_REDIS__URL" in warning
    assert "hunter2" not in result.stdout + served.stderr


def test_check_warns_of_a_redis_that_may_lose_events(
    aionotify: Run, tmp_path: Path, main_host: MainHost
) -> None:
    options = {"maxmemory": "10mb", "maxmemory-policy": "volatile-lru"}
    with RedisServer(tmp_path, options=options) as redis:
        result = aionotify(
            *("check", "--redis.url", redis.url, "--auth.main_host.url", main_host.url)
        )
    assert result.returncode == 0
    assert "warning  redis memory: maxmemory-policy volatile-lru, maxmemory 10" in result.stdout
    assert "warning  redis persistence: no append-only file" in result.stdout


def test_check_fails_on_a_replica(
    aionotify: Run, tmp_path: Path, main_host: MainHost, redis_server: RedisServer
) -> None:
    options = {"replicaof": f"127.0.0.1 {redis_server.port}"}
    with RedisServer(tmp_path, options=options) as replica:
        result = aionotify(
            *("check", "--json", "--redis.url", replica.url),
            *("--auth.main_host.url", main_host.url),
        )
    assert result.returncode == 1
    assert checked(result)["redis role"] == "failed"


def test_check_names_a_right_that_is_missing(
    aionotify: Run, own_redis: RedisServer, main_host: MainHost
) -> None:
    own_redis.cli("ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-publish", "&*")
    url = own_redis.url.replace("//", "//app:hunter2@")
    result = aionotify("check", "--redis.url", url, "--auth.main_host.url", main_host.url)
    assert result.returncode == 1
    assert "has no permissions to run the 'publish' command" in result.stdout
    assert "-> correct the user and password in redis.url" in result.stdout
    assert "hunter2" not in result.stdout


def test_check_fails_for_a_main_host_that_accepts_everybody(
    aionotify: Run, redis_server: RedisServer
) -> None:
    class Gullible(MainHost):
        def _verdict(self, token: str) -> Any:
            return super()._verdict(f"token-{token}")

    with Gullible() as main_host:
        result = aionotify(
            *("check", "--redis.url", redis_server.url),
            *("--auth.main_host.url", main_host.url),
        )
    assert result.returncode == 1
    assert "accepts a made-up token" in result.stdout


def test_check_of_a_token_key_that_is_none(
    aionotify: Run, tmp_path: Path, redis_server: RedisServer
) -> None:
    (tmp_path / "key.pem").write_text("hunter2")
    result = aionotify(
        *("check", "--redis.url", redis_server.url, "--auth.method", "jwt"),
        *("--auth.jwt.key_file", "key.pem", "--auth.jwt.algorithms", "RS256"),
    )
    assert result.returncode == 1
    assert "failed   jwt: auth.jwt.key_file: " in result.stdout
    assert "hunter2" not in result.stdout


def test_check_of_keys_that_are_nowhere(aionotify: Run, redis_server: RedisServer) -> None:
    result = aionotify(
        *("check", "--redis.url", redis_server.url, "--auth.method", "jwt"),
        *("--auth.jwt.jwks_url", f"http://127.0.0.1:{free_port()}/jwks"),
        *("--auth.jwt.algorithms", "RS256"),
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert "failed   jwt: http://127.0.0.1:" in result.stdout


def test_check_of_a_shared_secret(aionotify: Run, redis_server: RedisServer) -> None:
    result = aionotify(
        *("check", "--json", "--redis.url", redis_server.url, "--auth.method", "jwt"),
        *("--auth.jwt.key", "s" * 64, "--auth.jwt.algorithms", "HS256"),
    )
    assert checked(result)["jwt"] == "ok"


def test_check_fails_when_the_streams_do_not_fit_the_open_files(
    aionotify: Run, redis_server: RedisServer, main_host: MainHost
) -> None:
    result = aionotify(
        *("check", "--redis.url", redis_server.url, "--auth.main_host.url", main_host.url),
        *("--server.max_streams", "10000000"),
    )
    assert result.returncode == 1
    assert "-> raise it to 10000100: LimitNOFILE= or ulimit -n" in result.stdout


def test_check_tries_the_embedded_server(aionotify: Run, main_host: MainHost) -> None:
    result = aionotify(
        *("check", "--json", "--redis.url", "embedded://", "--auth.main_host.url", main_host.url)
    )
    assert checked(result)["redis pub/sub"] == "ok"


def test_check_prints_a_table_on_a_terminal(
    aionotify: Run, redis_server: RedisServer, main_host: MainHost
) -> None:
    terminal, ours = os.openpty()
    try:
        result = aionotify(
            *("check", "--redis.url", redis_server.url, "--auth.main_host.url", main_host.url),
            environ={"TERM": "xterm-256color", "COLUMNS": "120"},
            stdout=ours,
        )
    finally:
        os.close(ours)
    try:
        assert result.returncode == 0
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
    assert re.search(r"\x1b\[\d+mok.*redis pub/sub.*a message comes back in", shown)
    assert re.search(r"\x1b\[\d+mwarning.*redis persistence", shown)
