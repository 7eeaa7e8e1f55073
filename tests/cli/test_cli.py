"""The command line itself: which command, with which configuration, and how it ends."""

from pathlib import Path

import pytest

from aionotify._version import __version__
from aionotify.config import SETTINGS
from tests.cli.helpers import Parse, Run
from tests.harness import MainHost


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
        (
            ["serve", "--cors.quagga", "x"],
            "unknown argument --cors.quagga; known here: origins, headers",
        ),
        (["serve", "--conf", "x"], "unknown argument --conf"),
        (["demo", "--redis.url", "redis://x"], "aionotify demo does not use --redis.url"),
        (["publish", "42", "--server.port=1"], "aionotify publish does not use --server.port"),
        (["listen", "--auth.cookie", "x"], "aionotify listen does not use --auth.cookie"),
        (["serve", "--server.port"], "argument --server.port: expected one argument"),
        (["publish", "42", "text"], "argument DATA: is not JSON; a text needs its own quotes"),
        (
            ["publish", "--event", "a"],
            "without RECIPIENT, give the whole event on standard input",
        ),
        (["listen", "--url", "localhost"], "the url of a stream begins with http:// or https://"),
        (["listen", "--server.host", "unix:/a"], "set --url to the address of the proxy"),
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
    assert len(usage) < 320
    assert does.endswith(".")
    assert command == "serve" or "--server.port" not in result.stdout


def test_a_taken_port_is_told_in_a_line_and_exits_1(aionotify: Run, main_host: MainHost) -> None:
    result = aionotify("serve", "--server.port", str(main_host.port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"aionotify: cannot listen on 127.0.0.1 port {main_host.port}: it is in use;"
        " choose another, or stop what listens there (--server.port)\n"
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
def test_a_problem_that_only_the_start_can_show_is_told_in_the_same_way(
    aionotify: Run, settings: tuple[str, ...], problem: str
) -> None:
    result = aionotify("serve", "--server.port", "0", *settings)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"aionotify: configuration is not usable:\n  {problem}")
    assert "Traceback" not in result.stderr
