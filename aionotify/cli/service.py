"""What systemd gives a service: its command line, environment, credentials, limits, and user.

Read from the unit files, as systemd.service(5) and systemd.exec(5) say. So it says what the next
start will be like, and needs no systemd that runs. This module knows systemd, and no settings of
ours.
"""

import contextlib
import grp
import os
import pwd
import re
import resource
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final

from aionotify.cli.unit_file import PLACES, Unit, UnitError, content, read_unit, words
from aionotify.errors import ConfigError

CREDENTIALS: Final = tuple(
    f"{place}/credstore" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
)
_OPEN_FILES: Final = 524_288  # systemd's DefaultLimitNOFILE=, the hard limit
_DIGITS: Final = 20  # of 64 bits
_MAX_ID: Final = 2**32 - 2  # of a user or group; the next one stands for none
_DYNAMIC: Final = 61_184  # the first user id that DynamicUser= may give
_DECRYPTION: Final = 10.0  # seconds; a TPM takes its time
_HOMES: Final = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is started with.

    Attributes:
        unit: the files say all of it.
        command: the words of ``ExecStart=``.
        environ: the variables.
        credentials: the content of each by its name.
        directory: where it is started.
        open_files: the hard limit.
    """

    unit: Unit
    command: Sequence[str]
    environ: Mapping[str, str]
    credentials: Mapping[str, bytes] = field(repr=False)
    directory: str
    open_files: int

    def why_not(self, path: str) -> str | None:
        """Say why it cannot read a file; None if it can. Only root can try as another user."""
        path = os.path.realpath(path)
        if self.unit.is_on("ProtectHome") and _is_below(path, _HOMES):
            return "it is in a home directory, and ProtectHome= hides those"
        if self.unit.is_on("PrivateTmp") and _is_below(path, ("/tmp", "/var/tmp")):  # noqa: S108
            return "the service has a /tmp of its own, by PrivateTmp="
        try:
            with _acting_as(self.unit), open(path, "rb"):
                return None
        except OSError as error:
            return error.strerror


def read_service(
    name: str,
    runtime: str,
    units: Sequence[str] = PLACES,
    credstores: Sequence[str] = CREDENTIALS,
) -> Service:
    """Return what the service `name` is started with.

    Args:
        runtime: the directory in which it shall find its credentials.
        units: the directories of unit files; the first has priority.
        credstores: those of credentials without a path.

    Raises:
        ConfigError: there is no such unit, or systemd would not start it.
    """
    if not re.fullmatch(r"[\w:.\\@-]+", name, re.ASCII):
        raise ConfigError({"--service": "expected the name of a service, such as aionotify"})
    name = name if name.endswith(".service") else f"{name}.service"
    try:
        unit = read_unit(name, runtime, units)
        environ = {**_environ(unit), "CREDENTIALS_DIRECTORY": runtime}
        return Service(
            unit=unit,
            command=_command(unit, environ),
            environ=environ,
            credentials=dict(_credentials(unit, credstores)),
            directory=unit.last("WorkingDirectory", "/").removeprefix("-"),
            open_files=_open_files(unit),
        )
    except UnitError as error:
        raise ConfigError({error.what: str(error)}, name) from None


def _environ(unit: Unit) -> dict[str, str]:
    environ: dict[str, str] = {}
    environ.update(_pair(word) for word in unit.words("Environment") if "=" in word)
    for value in unit.all("EnvironmentFile"):
        path = value.removeprefix("-")
        paths = sorted(glob(path)) if re.search(r"[*?\[]", path) else [path]
        for each in paths:
            if os.path.exists(each) or each == value:
                environ.update(_of_file(content(each, "EnvironmentFile=").decode(errors="replace")))
    for word in unit.words("UnsetEnvironment"):
        name, equals, text = word.partition("=")
        if not equals or environ.get(name) == text:
            environ.pop(name, None)
    return environ


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _of_file(text: str) -> Iterator[tuple[str, str]]:
    """Yield the variables of an environment file: systemd.exec(5), "EnvironmentFile="."""
    for line in re.sub(r"\\\n", "", text).splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith(("#", ";")):
            continue
        value = value.strip()
        quoted = re.fullmatch(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"", value)
        if quoted is None:
            yield name.strip(), re.sub(r"\\(.)", r"\1", value)
        elif quoted[1] is not None:
            yield name.strip(), quoted[1]
        else:
            yield name.strip(), re.sub(r"\\([\"\\`$])", r"\1", quoted[2])


def _command(unit: Unit, environ: Mapping[str, str]) -> list[str]:
    """Return the words of a command line: systemd.service(5), "COMMAND LINES"."""
    lines = unit.all("ExecStart")
    if not lines:
        raise UnitError("ExecStart=", "there is none")

    def put(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], "")

    command = []
    for word in words(lines[0].lstrip("@-:+!|"), "ExecStart"):
        if alone := re.fullmatch(r"\$(\w+)", word):
            command += environ.get(alone[1], "").split()
        else:
            command.append(re.sub(r"\$\$|\$\{(\w+)\}", put, word))
    return command


def _credentials(unit: Unit, credstores: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each; one that is set is the default of one that is loaded."""
    given = {}
    for value in unit.all("SetCredential"):
        name, _, text = value.partition(":")
        given[name] = _unescaped(text)
    yield from given.items()
    for key in ("LoadCredential", "LoadCredentialEncrypted"):
        for value in unit.all(key):
            name, _, path = value.partition(":")
            path, what = path or name, f"{key}={name}"
            encrypted = [f"{place}.encrypted/{path}" for place in credstores]
            plain = [f"{place}/{path}" for place in credstores if key == "LoadCredential"]
            places = [path] if path.startswith("/") else encrypted + plain
            found = next((place for place in places if _is_there(place, what)), None)
            if found is None and (name in given or places != [path]):
                continue  # systemd, too, goes on without
            if key == "LoadCredential" and found not in encrypted:
                yield name, content(found or path, what)
            else:
                yield name, _decrypted(name, found or path, what)


def _is_there(path: str, what: str) -> bool:
    try:
        os.stat(path)
    except PermissionError as error:
        raise UnitError(what, f"{path}: {error.strerror}; only root may look") from None
    except OSError:
        return False
    return True


def _decrypted(name: str, path: str, what: str) -> bytes:
    command = ["systemd-creds", "decrypt", f"--name={name}", path, "-"]
    environ = {"PATH": os.environ.get("PATH", os.defpath)}  # the one-file binary's has more
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and root's own words
            command, capture_output=True, timeout=_DECRYPTION, env=environ, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnitError(what, f"systemd-creds decrypt: {error}") from None
    if done.returncode != 0:
        raise UnitError(what, done.stderr.decode(errors="replace").strip())
    return done.stdout


def _unescaped(text: str) -> bytes:
    names = {"n": b"\n", "t": b"\t", "r": b"\r", "s": b" "}

    def meaning(match: re.Match[bytes]) -> bytes:
        said = match[1].decode(errors="replace")
        return bytes.fromhex(said[1:]) if len(said) > 1 else names.get(said, match[1])

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", meaning, text.encode())


@contextlib.contextmanager
def _acting_as(unit: Unit) -> Iterator[None]:
    """Have the kernel decide as for the service's user, as far as files are concerned."""
    dynamic, name = unit.is_on("DynamicUser"), unit.last("User", "")
    if os.geteuid() != 0 or (name in ("", "root", "0") and not dynamic):
        yield
        return
    try:
        number = _number(name)
        user = pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
        uid, gid, groups = user.pw_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        if not dynamic:
            raise OSError(0, f"there is no user {name}, whom User= names") from None
        uid = gid = _DYNAMIC
        groups = [gid]
    for key in ("Group", "SupplementaryGroups"):
        for value in unit.all(key):
            groups += [_group(each, key) for each in value.split()]
    ours = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(ours)


def _group(name: str, key: str) -> int:
    try:
        number = _number(name)
        return grp.getgrnam(name).gr_gid if number is None else number
    except KeyError:
        raise OSError(0, f"there is no group {name}, which {key}= names") from None


def _number(name: str) -> int | None:
    """The id of a user or group that is given as a number; what is too large for one is a name."""
    is_one = name.isdecimal() and len(name) <= _DIGITS and int(name) <= _MAX_ID
    return int(name) if is_one else None


def _open_files(unit: Unit) -> int:
    limit = unit.last("LimitNOFILE", str(_OPEN_FILES)).rpartition(":")[2]
    if limit == "infinity":
        return resource.RLIM_INFINITY
    if not limit.isdecimal() or len(limit) > _DIGITS:
        raise UnitError("LimitNOFILE=", f"expected a number or infinity, got {limit[:80]!r}")
    return int(limit)


def _is_below(path: str, places: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)
