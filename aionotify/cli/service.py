"""What systemd gives a service: its command line, environment, credentials, limits, and user.

Read from the unit files as systemd.unit(5), systemd.service(5) and systemd.exec(5) say. So it says
what the next start will be like, and needs no systemd that runs. This module knows units, and no
settings of ours.
"""

import contextlib
import grp
import os
import pwd
import re
import resource
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final

from aionotify.errors import ConfigError

UNITS: Final = tuple(
    f"{place}/systemd/system" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
CREDENTIALS: Final = tuple(
    f"{place}/credstore" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
)
_OPEN_FILES: Final = 524_288  # systemd's DefaultLimitNOFILE=, the hard limit
_DYNAMIC: Final = 61_184  # the first user id that DynamicUser= may give
_DECRYPTION: Final = 10.0  # seconds; a TPM takes its time
_HOMES: Final = ("/home", "/root", "/run/user")
_PLACES: Final = {"t": "/run", "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc"}


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is started with.

    Attributes:
        files: the unit and its drop-ins, in the order in which they are read.
        command: the words of ``ExecStart=``.
        environ: without the credentials' directory.
        credentials: the content of each by its name.
        directory: where it is started.
        open_files: the hard limit.
    """

    files: Sequence[str]
    command: Sequence[str]
    environ: Mapping[str, str]
    credentials: Mapping[str, bytes] = field(repr=False)
    directory: str
    open_files: int
    _unit: Mapping[str, Sequence[str]] = field(repr=False)

    def why_not(self, path: str) -> str | None:
        """Say why it cannot read a file; None if it can. Only root can try as another user."""
        path = os.path.realpath(path)
        if _is_on(self._unit, "ProtectHome") and _is_below(path, _HOMES):
            return "it is in a home directory, and ProtectHome= hides those"
        if _is_on(self._unit, "PrivateTmp") and _is_below(path, ("/tmp", "/var/tmp")):  # noqa: S108
            return "the service has a /tmp of its own, by PrivateTmp="
        try:
            with _acting_as(self._unit), open(path, "rb"):
                return None
        except OSError as error:
            return error.strerror


def read_service(
    name: str,
    runtime: str,
    units: Sequence[str] = UNITS,
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
        files = list(_files(name, units))
        unit = _settings(files, _specifiers(name, runtime))
        environ = {**_environ(unit), "CREDENTIALS_DIRECTORY": runtime}
        return Service(
            files=files,
            command=_command(unit, environ),
            environ=environ,
            credentials=dict(_credentials(unit, credstores)),
            directory=_last(unit, "WorkingDirectory", "/").removeprefix("-"),
            open_files=_open_files(unit),
            _unit=unit,
        )
    except _Wrong as error:
        raise ConfigError({error.what: str(error)}, name) from None


class _Wrong(Exception):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


def _files(name: str, places: Sequence[str]) -> Iterator[str]:
    """Yield the unit and its drop-ins: systemd.unit(5), "UNIT FILE LOAD PATH"."""
    template = re.sub(r"@.+\.service$", "@.service", name)
    names = dict.fromkeys((name, template))
    found = [f"{place}/{each}" for each in names for place in places]
    unit = next(filter(os.path.lexists, found), None)
    if unit is None:
        raise _Wrong("unit", f"there is none of this name in {', '.join(places)}")
    if os.path.realpath(unit) == os.devnull:
        raise _Wrong(unit, "it is masked")
    yield unit
    parents = [f"{name[:at]}-.service" for at in _dashes(name)]
    drop_ins: dict[str, str] = {}
    for each in (*names, os.path.basename(os.path.realpath(unit)), *parents, "service"):
        for place in places:
            for path in glob(f"{place}/{each}.d/*.conf"):
                drop_ins.setdefault(os.path.basename(path), path)
    yield from (drop_ins[file] for file in sorted(drop_ins))


def _dashes(name: str) -> list[int]:
    return [match.start() for match in re.finditer("-", name.partition("@")[0])][::-1]


def _settings(files: Sequence[str], specifiers: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what [Service] says: of each setting the values that are in force, in order."""
    found: dict[str, list[str]] = {}
    for file in files:
        for section, key, value in _assignments(_text(file)):
            if section != "Service":
                continue
            values = found.setdefault(key, [])
            if value:
                values.append(_expanded(value, specifiers, f"{key}="))
            else:
                values.clear()  # all that came before
    return found


def _assignments(text: str) -> Iterator[tuple[str, str, str]]:
    section = ""
    # A comment between continued lines is none of them.
    lines = (line for line in text.splitlines() if not re.match(r"\s*[#;]", line))
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if header := re.fullmatch(r"\s*\[(.*)\]\s*", line):
            section = header[1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value.strip()


def _specifiers(name: str, runtime: str) -> dict[str, str]:
    stem = name.removesuffix(".service")
    prefix, _, instance = stem.partition("@")
    return {"%": "%", "n": name, "N": stem, "p": prefix, "i": instance, "d": runtime, **_PLACES}


def _expanded(value: str, specifiers: Mapping[str, str], what: str) -> str:
    def meaning(match: re.Match[str]) -> str:
        if match[1] not in specifiers:
            raise _Wrong(what, f"the specifier {match[0]} is not known here")
        return specifiers[match[1]]

    return re.sub("%(.)", meaning, value)


def _environ(unit: Mapping[str, Sequence[str]]) -> dict[str, str]:
    environ: dict[str, str] = {}
    for value in unit.get("Environment", ()):
        environ.update(_pair(word) for word in _words(value, "Environment=") if "=" in word)
    for value in unit.get("EnvironmentFile", ()):
        path = value.removeprefix("-")
        paths = sorted(glob(path)) if re.search(r"[*?\[]", path) else [path]
        for each in paths:
            if os.path.exists(each) or each == value:
                environ.update(_of_file(_text(each, "EnvironmentFile=")))
    for value in unit.get("UnsetEnvironment", ()):
        for word in _words(value, "UnsetEnvironment="):
            name, equals, text = word.partition("=")
            if not equals or environ.get(name) == text:
                environ.pop(name, None)
    return environ


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


def _command(unit: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> list[str]:
    """Return the words of a command line: systemd.service(5), "COMMAND LINES"."""
    lines = unit.get("ExecStart", ())
    if not lines:
        raise _Wrong("ExecStart=", "there is none")

    def put(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1], "")

    words = []
    for word in _words(lines[0].lstrip("@-:+!|"), "ExecStart="):
        if alone := re.fullmatch(r"\$(\w+)", word):
            words += environ.get(alone[1], "").split()
        else:
            words.append(re.sub(r"\$\$|\$\{(\w+)\}", put, word))
    return words


def _credentials(
    unit: Mapping[str, Sequence[str]], credstores: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each; one that is set is the default of one that is loaded."""
    given = {}
    for value in unit.get("SetCredential", ()):
        name, _, text = value.partition(":")
        given[name] = _unescaped(text)
    yield from given.items()
    for key in ("LoadCredential", "LoadCredentialEncrypted"):
        for value in unit.get(key, ()):
            name, _, path = value.partition(":")
            path = path or name
            encrypted = [f"{place}.encrypted/{path}" for place in credstores]
            places = [f"{place}/{path}" for place in credstores]
            places = encrypted + (places if key == "LoadCredential" else [])
            found = path if path.startswith("/") else next(filter(os.path.exists, places), None)
            if found is None or (name in given and not os.path.exists(found)):
                continue  # systemd, too, goes on without
            if key == "LoadCredential" and found not in encrypted:
                yield name, _bytes(found, f"{key}={name}")
            else:
                yield name, _decrypted(name, found, f"{key}={name}")


def _decrypted(name: str, path: str, what: str) -> bytes:
    command = ["systemd-creds", "decrypt", f"--name={name}", path, "-"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and root's own words
            command, capture_output=True, timeout=_DECRYPTION, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Wrong(what, f"systemd-creds decrypt: {error}") from None
    if done.returncode != 0:
        raise _Wrong(what, done.stderr.decode(errors="replace").strip())
    return done.stdout


def _unescaped(text: str) -> bytes:
    names = {"n": b"\n", "t": b"\t", "r": b"\r", "s": b" "}

    def meaning(match: re.Match[bytes]) -> bytes:
        said = match[1].decode(errors="replace")
        return bytes.fromhex(said[1:]) if len(said) > 1 else names.get(said, match[1])

    return re.sub(rb"\\(x[0-9a-fA-F]{2}|.)", meaning, text.encode())


@contextlib.contextmanager
def _acting_as(unit: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Have the kernel decide as for the service's user, as far as files are concerned."""
    dynamic, name = _is_on(unit, "DynamicUser"), _last(unit, "User", "")
    if os.geteuid() != 0 or (name in ("", "root", "0") and not dynamic):
        yield
        return
    try:
        user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
        uid, gid, groups = user.pw_uid, user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        if not dynamic:
            raise OSError(0, f"there is no user {name}, whom User= names") from None
        uid = gid = _DYNAMIC
        groups = [gid]
    for key in ("Group", "SupplementaryGroups"):
        for value in unit.get(key, ()):
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
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise OSError(0, f"there is no group {name}, which {key}= names") from None


def _open_files(unit: Mapping[str, Sequence[str]]) -> int:
    limit = _last(unit, "LimitNOFILE", str(_OPEN_FILES)).rpartition(":")[2]
    if limit == "infinity":
        return resource.RLIM_INFINITY
    if not limit.isdecimal():
        raise _Wrong("LimitNOFILE=", f"expected a number or infinity, got {limit[:80]!r}")
    return int(limit)


def _last(unit: Mapping[str, Sequence[str]], key: str, default: str) -> str:
    return [default, *unit.get(key, ())][-1]


def _is_on(unit: Mapping[str, Sequence[str]], key: str) -> bool:
    return _last(unit, key, "no").lower() not in ("no", "false", "off", "0")


def _is_below(path: str, places: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _words(value: str, what: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise _Wrong(what, str(error).lower()) from None


def _text(path: str, what: str = "unit") -> str:
    return _bytes(path, what).decode(errors="replace")


def _bytes(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _Wrong(what, f"{path}: {error.strerror}") from None
