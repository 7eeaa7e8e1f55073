"""What people and scripts give to the commands: each ends in a line and a code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import MainHost, RedisServer, free_port

JWT = "--auth.method jwt --auth.jwt.algorithms HS256 --auth.jwt.key " + "s" * 32
ENDS = {  # what is given: the code, and what the only line on standard error has
    "publish <&-": (1, "holds no event"),
    'publish "$(printf "\\377")" 1': (2, "are text in UTF-8"),
    'publish x 1 --event "$(printf "\\377")"': (2, "are text in UTF-8"),
    'publish x "$(printf "\\377")"': (2, "is not JSON"),
    "publish x 1 >/dev/full": (1, "No space left on device"),
    "publish x 1 --id ''": (1, "id: must be 1 to 128 characters"),
    "publish x 1 --event 'a\n'": (1, "line break or NUL, has U+000A at character 2"),
    "publish 'a\tb' 1": (1, "control characters, has U+0009 at character 2"),
    "check >/dev/full": (1, "No space left on device"),
    "check --config .": (2, "Is a directory"),
    "check --redis.url $'\\xff'": (2, "redis.url"),
    "check --auth.main_host.url http://a..b": (2, "auth.main_host.url"),
    "check --origin https://app.example.com/": (2, "without a path, got 'https://app"),
    "check --origin '*'": (2, "expected an origin such as"),
    "check --origin null": (2, "expected an origin such as"),
    "check --service no-such-service": (2, "there is none of this name in /etc/systemd/system"),
    "check --service ''": (2, "expected the name of a service"),
    "check --service ../../etc/passwd": (2, "expected the name of a service"),
    "check --service x --config y": (2, "leave out --config"),
    "token": (2, "required: USER"),
    "token \"$(printf '\\377')\" --auth.method jwt": (2, "argument USER: the user id"),
    "token alice --expires-in 1e3": (2, "a whole number of seconds"),
    "token alice --expires-in ٣": (2, "a whole number of seconds"),
    f"token alice {JWT} >/dev/full": (1, "No space left on device"),
    f"token alice {JWT} --key-file /dev/null": (2, "--key-file: expected a"),
    f"token alice {JWT} --key-file .": (2, "--key-file: cannot be read: Is a directory"),
    "serve --dev --dev=1": (2, "ignored explicit argument"),
    "serve --dev --server.host 10.0.0.1": (2, "server.host: expected 127.0.0.1"),
    "serve --dev --server.host a..b": (2, "server.host"),
    "serve --dev --server.port 65536": (2, "server.port: expected a whole number from 0"),
    "check --dev": (2, "unknown argument --dev"),
    "--version >/dev/full": (1, "No space left on device"),
    "systemd --output /nonexistent/x": (1, "No such file or directory"),
    "systemd >/dev/full": (1, "No space left on device"),
    "listen --url http://a..b/notify --token x": (2, "a host that cannot be one"),
    "listen --url http://me:pw@127.0.0.1/notify --token x": (2, "no user name or password"),
    "listen --url http://127.0.0.1:1/notify --token 'a\nb'": (2, "no header can have"),
    "listen --url http://127.0.0.1:1/notify --token 'ü'": (2, "no header can have"),
    "listen --url http://127.0.0.1:99999/ --token x": (2, ""),
    "listen --url 'http://[::1/notify' --token x": (2, ""),
}


@pytest.mark.parametrize("line", ENDS)
def test_odd_input_ends_in_a_line_and_a_code(
    line: str, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ENDS[line]
    monkeypatch.setenv("AIONOTIFY_REDIS__URL", redis_server.url)
    monkeypatch.setenv("AIONOTIFY_AUTH__MAIN_HOST__URL", f"http://127.0.0.1:{free_port()}")
    if line.startswith("check --redis"):
        monkeypatch.delenv("AIONOTIFY_REDIS__URL")
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m aionotify {line}', sys.executable],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert said in last
    assert "pw" not in last


def test_a_token_that_ends_in_a_newline_is_the_token(
    redis_server: RedisServer, main_host: MainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file or a command substitution gives it; it reaches the server, which is not there."""
    monkeypatch.setenv("AIONOTIFY_TOKEN", "token-42\n")
    words = ["listen", "--url", f"http://127.0.0.1:{free_port()}/notify"]
    with pytest.raises(subprocess.TimeoutExpired):  # it tries again, as for any outage
        subprocess.run([sys.executable, "-m", "aionotify", *words], timeout=3, check=False)
