"""``aionotify check``: what it finds, what it advises, and how it ends."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from tests.cli.helpers import Result, Run
from tests.harness import MainHost, RedisServer, free_port


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
            *("redis persistence", "redis keys", "redis rights", "redis names"),
            *("clock", "redis pub/sub", "main host"),
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
    assert "         -> start Redis at that address\n" in result.stdout
    asked = f"http://{nobody}/api/v1/is_user_auth/"
    assert f"failed   main host: {asked}: Connection refused\n" in result.stdout
    assert "         -> start it at that address\n" in result.stdout
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
            *("check", "--redis.url", replica.url, "--auth.main_host.url", main_host.url)
        )
    assert result.returncode == 1
    assert "failed   redis keys: Redis refused: READONLY You can't write" in result.stdout
    assert "-> set redis.url to the primary" in result.stdout


def test_check_names_a_right_that_is_missing(
    aionotify: Run, own_redis: RedisServer, main_host: MainHost
) -> None:
    own_redis.cli("ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-publish", "&*")
    url = own_redis.url.replace("//", "//app:hunter2@")
    result = aionotify("check", "--redis.url", url, "--auth.main_host.url", main_host.url)
    assert result.returncode == 1
    assert "has no permissions to run the 'publish' command" in result.stdout
    assert "-> give the user in redis.url the rights (ACL) that" in result.stdout
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
    assert re.search("failed   jwt: http://127.0.0.1:.*/jwks: Connection refused", result.stdout)


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


def test_check_says_which_setting_lets_pages_of_an_origin_in(aionotify: Run) -> None:
    """By the origin as browsers write it."""
    nobody = f"http://127.0.0.1:{free_port()}"
    given = (
        *("check", "--json", "--redis.url", "unix:///nowhere", "--auth.main_host.url", nobody),
        *("--cors.origins", "https://app.example.com,capacitor://localhost"),
    )
    for origin, status in (
        ("https://app.example.com", "ok"),
        ("Capacitor://LOCALHOST", "ok"),
        ("http://app.example.com", "failed"),
    ):
        result = aionotify(*given, "--origin", origin)
        [found] = [each for each in json.loads(result.stdout) if each["check"] == "cors"]
        assert found["status"] == status
        assert (f"add {origin} to cors.origins" in found["advice"]) is (status == "failed")
