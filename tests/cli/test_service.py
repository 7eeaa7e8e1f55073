"""What a systemd service is started with, out of its unit files; and what check makes of it."""

import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from aionotify.cli.service import Service, read_service
from aionotify.errors import ConfigError
from tests.cli.helpers import Result, Run
from tests.harness import MainHost, RedisServer, free_port

KEY = "publisher-key-0123456789"


@pytest.fixture
def places(tmp_path: Path) -> SimpleNamespace:
    """Directories for units, as in /etc and /usr/lib, and for credentials."""
    made = {name: tmp_path / name for name in ("etc", "lib", "credstore")}
    for path in made.values():
        path.mkdir()
    return SimpleNamespace(**made)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that services can see: of /tmp they have one of their own."""
    directory = Path(tempfile.mkdtemp(dir="/var/lib", prefix="aionotify-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def written(directory: Path, text: str, name: str = "aionotify.service") -> Path:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[Service]\n{text}\n")
    return path


def read(places: SimpleNamespace, name: str = "aionotify") -> Service:
    units = (str(places.etc), str(places.lib))
    return read_service(name, "/run/credentials/x", units, (str(places.credstore),))


# Unit files


def test_the_unit_with_priority_counts_and_its_drop_ins_in_the_order_of_their_names(
    places: SimpleNamespace,
) -> None:
    """Wherever each lies; of two with the same name, the one with priority."""
    written(places.etc, "ExecStart=/bin/aionotify serve\nEnvironment=A=unit B=unit")
    written(places.lib, "ExecStart=/bin/other")
    written(places.lib, "Environment=A=10", "aionotify.service.d/10.conf")
    written(places.etc, "Environment=A=20", "aionotify.service.d/20.conf")
    written(places.lib, "Environment=A=never B=never", "aionotify.service.d/20.conf")
    written(places.lib, "Environment=C=all", "service.d/05.conf")
    written(places.lib, "Environment=C=never", "aionotify.service.d/readme.txt")
    service = read(places)
    assert [Path(file).name for file in service.unit.files] == [
        *("aionotify.service", "05.conf", "10.conf", "20.conf"),
    ]
    assert service.command == ["/bin/aionotify", "serve"]
    expected = {"A": "20", "B": "unit", "C": "all", "CREDENTIALS_DIRECTORY": "/run/credentials/x"}
    assert service.environ == expected


def test_an_empty_value_takes_back_all_that_came_before(places: SimpleNamespace) -> None:
    """As an override begins that replaces a command line."""
    written(places.lib, "ExecStart=/bin/old\nEnvironment=A=1\nSetCredential=a:1")
    override = "ExecStart=\nExecStart=/bin/new serve\nEnvironment=\nSetCredential="
    written(places.etc, override, "aionotify.service.d/override.conf")
    service = read(places)
    assert service.command == ["/bin/new", "serve"]
    assert ("A" in service.environ, service.credentials) == (False, {})


def test_lines_are_continued_and_comments_are_none(places: SimpleNamespace) -> None:
    """A comment between continued lines does not end them; other sections are not ours."""
    written(
        places.etc,
        "ExecStartPre=/bin/what-we-do-not-ask-for %u\nExecStart=/bin/a serve \\\n# why\n"
        "  --config x\n; Environment=A=1\n[Install]\nUser=me",
    )
    assert read(places).command == ["/bin/a", "serve", "--config", "x"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"/opt/a b/100%%/$$x" serve --config "/etc/a\\"b"', ["/opt/a b/100%/$x", "serve"]),
        ("@-/bin/a serve", ["/bin/a", "serve"]),
        ("/bin/a serve --server.port ${PORT}", ["/bin/a", "serve", "--server.port", "9000"]),
        ("/bin/a serve $MORE", ["/bin/a", "serve", "--x", "--y"]),
        (
            "/bin/a serve --config %E/%p.yaml",
            ["/bin/a", "serve", "--config", "/etc/aionotify.yaml"],
        ),
        ("/bin/a serve --config %d/c", ["/bin/a", "serve", "--config", "/run/credentials/x/c"]),
    ],
)
def test_a_command_line_is_read_as_systemd_reads_it(
    places: SimpleNamespace, line: str, words: list[str]
) -> None:
    """Quotes, prefixes, variables and specifiers."""
    written(places.etc, f"Environment=PORT=9000 'MORE=--x --y'\nExecStart={line}")
    assert read(places).command[: len(words)] == words


def test_an_instance_has_the_unit_and_the_drop_ins_of_its_template(
    places: SimpleNamespace,
) -> None:
    """aionotify@2 is made of aionotify@.service, and knows that it is 2."""
    written(places.lib, "ExecStart=/bin/a serve --server.port 800%i", "aionotify@.service")
    written(places.etc, "Environment=A=1", "aionotify@.service.d/a.conf")
    written(places.etc, "Environment=A=2", "aionotify@2.service.d/b.conf")
    service = read(places, "aionotify@2.service")
    assert (service.command[-1], service.environ["A"]) == ("8002", "2")


# What they say


def test_an_environment_file_wins_over_variables_and_one_that_may_be_absent_may(
    places: SimpleNamespace, tmp_path: Path
) -> None:
    """With what its quotes mean; UnsetEnvironment= has the last word."""
    file = tmp_path / "env"
    file.write_text('# it\nA=file # not a comment\nB=\'a "b"\'\nC="x \\"y\\" \\$z"\n\nD=a\\ b\n')
    text = f"Environment=A=unit E=gone\nEnvironmentFile={file}\nEnvironmentFile=-/nowhere/env"
    written(places.etc, f"{text}\nUnsetEnvironment=E\nExecStart=/bin/a")
    environ = dict(read(places).environ)
    environ.pop("CREDENTIALS_DIRECTORY")
    assert environ == {"A": "file # not a comment", "B": 'a "b"', "C": 'x "y" $z', "D": "a b"}


def test_credentials_are_found_where_systemd_finds_them(
    places: SimpleNamespace, tmp_path: Path
) -> None:
    """At a path, in the store, or in the unit, which is the default; one may be absent there."""
    (tmp_path / "url").write_text("redis://here\n")
    (places.credstore / "aionotify.key").write_text("stored")
    written(
        places.etc,
        f"ExecStart=/bin/a\nLoadCredential=redis.url:{tmp_path}/url\nLoadCredential=key:aionotify.key"
        "\nLoadCredential=absent:aionotify.absent\nSetCredential=key:unit\nSetCredential=other:a\\nb"
        "\nLoadCredential=other:/nowhere/other",
    )
    assert read(places).credentials == {
        "redis.url": b"redis://here\n",
        "key": b"stored",
        "other": b"a\nb",
    }


def test_encrypted_credentials_are_decrypted_by_systemd(
    places: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encrypted store comes first; a stand-in for systemd-creds says what it is asked."""
    creds = tmp_path / "bin" / "systemd-creds"
    creds.parent.mkdir()
    creds.write_text('#!/bin/sh\necho "$@"; cat "$3"\n')
    creds.chmod(0o755)
    monkeypatch.setenv("PATH", f"{creds.parent}:{os.environ['PATH']}")
    store = tmp_path / "credstore.encrypted"
    store.mkdir()
    for path in (store / "one", tmp_path / "two", places.credstore / "one"):
        path.write_text(f"in {path}")
    written(
        places.etc,
        f"ExecStart=/bin/a\nLoadCredential=a.one:one\nLoadCredentialEncrypted=b.two:{tmp_path}/two",
    )
    assert read(places).credentials == {
        name: f"decrypt --name={name} {path} -\nin {path}".encode()
        for name, path in (("a.one", store / "one"), ("b.two", tmp_path / "two"))
    }


def test_a_store_that_only_root_may_look_into_is_told(outside: Path) -> None:
    """It is not taken for one without that credential."""
    store = outside / "credstore"
    store.mkdir(mode=0o700)
    written(outside, "ExecStart=/bin/a\nLoadCredential=redis.url:aionotify.redis.url")
    os.seteuid(61184)
    try:
        with pytest.raises(ConfigError, match=r"redis.url: Permission denied; only root may look"):
            read_service("aionotify", "/run/x", [str(outside)], [str(store)])
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("limit", "files"),
    [("", 524288), ("65536", 65536), ("1024:4096", 4096), ("infinity", resource.RLIM_INFINITY)],
)
def test_the_limit_of_open_files_is_the_hard_one(
    places: SimpleNamespace, limit: str, files: int
) -> None:
    """Because the server raises the soft one to it."""
    written(places.etc, f"ExecStart=/bin/a\nLimitNOFILE={limit}")
    assert read(places).open_files == files


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ("", "ExecStart=", "there is none"),
        ("ExecStart=/bin/a 'b", "ExecStart=", "no closing quotation"),
        ("ExecStart=/bin/a %q", "ExecStart=", "the specifier %q is not known here"),
        (
            "ExecStart=/bin/a\nEnvironmentFile=/nowhere",
            "EnvironmentFile=",
            "/nowhere: No such file",
        ),
        ("ExecStart=/bin/a\nLoadCredential=k:/nowhere", "LoadCredential=k", "/nowhere: No such"),
        ("ExecStart=/bin/a\nLoadCredential=k:/etc", "LoadCredential=k", "/etc: Is a directory"),
        ("ExecStart=/bin/a\nLimitNOFILE=many", "LimitNOFILE=", "expected a number or infinity"),
        ("ExecStart=/bin/a\nLimitNOFILE=" + 25 * "9", "LimitNOFILE=", "expected a number or"),
        ("ExecStart=/bin/a\nEnvironmentFile=/a\0", "unit", "/"),
        ("ExecStart=/bin/a\nEnvironmentFile=/dev/zero", "EnvironmentFile=", "/dev/zero: has more"),
        (
            "ExecStart=/bin/a\nLoadCredentialEncrypted=k:/etc/hostname",
            "LoadCredentialEncrypted=k",
            "",
        ),
    ],
    ids=str,
)
def test_what_systemd_would_not_start_is_told(
    places: SimpleNamespace, text: str, what: str, why: str
) -> None:
    """With the setting of the unit, and the kernel's words."""
    written(places.etc, text)
    with pytest.raises(ConfigError) as caught:
        read(places)
    assert caught.value.source == "aionotify.service"
    [(setting, problem)] = caught.value.problems.items()
    assert setting == what
    assert problem.startswith(why)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(places: SimpleNamespace) -> None:
    pipe = places.etc / "environment"
    os.mkfifo(pipe)
    written(places.etc, f"ExecStart=/bin/a\nEnvironmentFile={pipe}")
    assert read(places).command == ["/bin/a"]


@pytest.mark.parametrize("setting", ["User", "Group"])
@pytest.mark.parametrize("name", ["9" * 5000, "4294967295", "nobody-here", "\u0663" * 30])
def test_whom_the_system_does_not_know_cannot_read_anything(
    places: SimpleNamespace, setting: str, name: str
) -> None:
    user = "" if setting == "User" else "User=nobody\n"
    written(places.etc, f"ExecStart=/bin/a\n{user}{setting}={name}")
    relative = "whom" if setting == "User" else "which"
    told = f"there is no {setting.lower()} {name}, {relative} {setting}= names"
    # Nobody but root can try it.
    assert read(places).why_not("/etc/hostname") == (told if os.geteuid() == 0 else None)


def test_a_unit_that_is_masked_or_absent_is_told(places: SimpleNamespace) -> None:
    """And where it was looked for."""
    with pytest.raises(ConfigError, match=f"none of this name in {places.etc}, {places.lib}"):
        read(places)
    (places.etc / "aionotify.service").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="it is masked"):
        read(places)


# Check


def checked(aionotify: Run, units: Path, *words: str, **environ: str) -> Result:
    given = {"SYSTEMD_UNIT_PATH": str(units), **environ}
    return aionotify("check", "--service", "aionotify", "--json", *words, environ=given)


def found(result: Result, check: str) -> list[dict[str, str]]:
    assert result.stderr == ""
    return [each for each in json.loads(result.stdout) if each["check"] == check]


def test_check_reads_what_the_service_reads(
    aionotify: Run, outside: Path, redis_server: RedisServer, main_host: MainHost
) -> None:
    """With the unit that ``aionotify systemd`` writes, a credential and a drop-in."""
    config = outside / "config.yaml"
    config.write_text(f"auth: {{main_host: {{url: '{main_host.url}'}}}}\n")
    assert aionotify("systemd", "--config", str(config), "--output", str(outside)).returncode == 0
    secret = outside / "redis.url"
    secret.write_text(f"{redis_server.url}\n")
    secret.chmod(0o600)
    drop_in = f"LoadCredential=redis.url:{secret}\nEnvironment=AIONOTIFY_SERVER__MAX_STREAMS=70000"
    written(outside, drop_in, "aionotify.service.d/local.conf")
    # What is set here is nothing to the service.
    result = checked(aionotify, outside, AIONOTIFY_REDIS__URL="redis://no-such-host.invalid")
    [ok, *unreadable] = found(result, "service")
    assert ok["found"] == (
        f"{outside}/aionotify.service, drop-ins: 1, configuration: {config}, credentials: redis.url"
    )
    # The interpreter of these tests may be where no service may look.
    assert [each for each in unreadable if sys.executable not in each["found"]] == [
        each for each in unreadable if "/aionotify:" in each["found"]
    ]
    assert [each["status"] for each in found(result, "redis")] == ["ok"]
    assert [each["status"] for each in found(result, "main host")] == ["ok"]
    [files] = found(result, "open files")  # LimitNOFILE= is in the unit
    assert (files["status"], files["found"].split()[0]) == ("failed", "65536")


def test_check_tries_the_service_s_eyes(aionotify: Run, outside: Path) -> None:
    """A file that root reads and the service does not fails, in the kernel's words."""
    config = outside / "config.yaml"
    config.write_text("log: {level: info}\n")
    config.chmod(0o600)
    nothing = "Environment=AIONOTIFY_REDIS__URL=unix:///nowhere"
    unit = f"{nothing}\nDynamicUser=yes\nExecStart=/bin/sh serve --config {config}"
    written(outside, unit)
    [_, unreadable] = found(checked(aionotify, outside), "service")
    assert unreadable["status"] == "failed"
    assert unreadable["found"] == f"it cannot read {config}: Permission denied"
    assert "LoadCredential=" in unreadable["advice"]
    group = os.stat(config).st_gid
    config.chmod(0o640)
    written(outside, f"SupplementaryGroups={group}\n{unit}")
    assert len(found(checked(aionotify, outside), "service")) == 1


@pytest.mark.parametrize(
    ("line", "place"), [("ProtectHome=yes", "/root"), ("PrivateTmp=yes", "/tmp")]
)
def test_a_place_that_a_service_does_not_see_is_told(
    places: SimpleNamespace, line: str, place: str
) -> None:
    """With the line of the unit that hides it, and only if it is there."""
    for lines in (line, ""):
        written(places.etc, f"ExecStart=/bin/a\n{lines}")
        reason = read(places).why_not(f"{place}/x")
        assert reason is not None
        assert (f"{line.partition('=')[0]}=" in reason) is bool(lines)
        assert lines or reason == "No such file or directory"


def test_check_goes_by_the_service_s_flags_and_directory(aionotify: Run, outside: Path) -> None:
    """Flags in ExecStart= count, and those given to check more; so does ./config.yaml there."""
    (outside / "config.yaml").write_text("stream: {heartbeat: 80}\n")
    nobody = f"redis://127.0.0.1:{free_port()}"
    unit = f"WorkingDirectory={outside}\nExecStart=/bin/sh serve --redis.url {nobody}"
    written(outside, unit)
    result = checked(aionotify, outside)
    assert nobody in found(result, "redis")[0]["found"]
    assert found(result, "heartbeat")[0]["found"] == "every 80 s"
    other = f"redis://127.0.0.1:{free_port()}"
    assert other in found(checked(aionotify, outside, "--redis.url", other), "redis")[0]["found"]


def test_secrets_that_check_has_read_are_gone_at_its_end(aionotify: Run, outside: Path) -> None:
    """Its directory of credentials is no longer there, even after an error."""
    written(outside, "ExecStart=/bin/sh serve\nSetCredential=server.port:x")
    before = set(os.listdir("/run"))
    result = checked(aionotify, outside)
    assert (result.returncode, result.stdout) == (2, "")
    assert "server.port: expected a whole number from 0 to 65535, got 'x'" in result.stderr
    assert "(credential server.port)" in result.stderr
    assert set(os.listdir("/run")) <= before
