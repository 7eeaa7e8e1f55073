"""Unit files of systemd: which ones make up a unit, and what they say about a service.

As systemd.unit(5) and systemd.syntax(7) have it. This module knows no setting of any unit.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from typing import Final

PLACES: Final = tuple(
    f"{place}/systemd/system" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
"""Where unit files are, by priority."""

_MAX_BYTES: Final = 1 << 20  # of a file; systemd, too, takes no larger credentials
_DIRECTORIES: Final = {
    "t": "/run",
    "S": "/var/lib",
    "C": "/var/cache",
    "L": "/var/log",
    "E": "/etc",
}


class UnitError(Exception):
    """systemd would not start the unit: `what` it stumbles over, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(why)
        self.what = what


@dataclass(frozen=True, slots=True)
class Unit:
    """A service unit.

    Attributes:
        files: the unit and its drop-ins, in the order in which they are read.
    """

    files: Sequence[str]
    _values: Mapping[str, Sequence[str]] = field(repr=False)
    _specifiers: Mapping[str, str] = field(repr=False)

    def all(self, key: str) -> list[str]:
        """Return the values of a setting that are in force, in order.

        Raises UnitError: one has a specifier that is not known here.
        """

        def meaning(match: re.Match[str]) -> str:
            if match[1] not in self._specifiers:
                raise UnitError(f"{key}=", f"the specifier {match[0]} is not known here")
            return self._specifiers[match[1]]

        return [re.sub("%(.)", meaning, value) for value in self._values.get(key, ())]

    def last(self, key: str, default: str = "") -> str:
        """Return the value of a setting of which the last one counts."""
        return [default, *self.all(key)][-1]

    def is_on(self, key: str) -> bool:
        """Whether a setting is anything but off; off is the default."""
        return self.last(key, "no").lower() not in ("no", "false", "off", "0")

    def words(self, key: str) -> Iterator[str]:
        """Yield the words of all values of a setting, without their quotes."""
        for value in self.all(key):
            yield from words(value, key)


def read_unit(name: str, runtime: str, places: Sequence[str] = PLACES) -> Unit:
    """Return the unit ``NAME.service``.

    Args:
        runtime: the directory of its credentials, which ``%d`` names.

    Raises:
        UnitError: there is none, or it cannot be read.
    """
    files = list(_files(name, places))
    values: dict[str, list[str]] = {}
    for file in files:
        text = content(file, "unit").decode(errors="replace")
        if "\0" in text:
            raise UnitError("unit", f"{file}: it has a NUL character")
        for section, key, value in _assignments(text):
            if section != "Service":
                continue
            of_key = values.setdefault(key, [])
            if value:
                of_key.append(value)
            else:
                of_key.clear()  # all that came before
    return Unit(files, values, _specifiers(name, runtime))


def words(value: str, what: str) -> list[str]:
    """Return the words of a value of the setting `what`, without their quotes."""
    try:
        return shlex.split(value)
    except ValueError as error:
        raise UnitError(f"{what}=", str(error).lower()) from None


def content(path: str, what: str) -> bytes:
    """Return what is in a file that the setting `what` names; nothing is waited for."""
    try:
        with open(path, "rb", opener=_at_once) as file:
            found = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnitError(what, f"{path}: {error.strerror}") from None
    if len(found) > _MAX_BYTES:
        raise UnitError(what, f"{path}: has more than {_MAX_BYTES:,} bytes")
    return found


def _at_once(path: str, flags: int) -> int:
    """Open a file, also a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def _files(name: str, places: Sequence[str]) -> Iterator[str]:
    """Yield the unit and its drop-ins: systemd.unit(5), "UNIT FILE LOAD PATH"."""
    template = re.sub(r"@.+\.service$", "@.service", name)
    names = dict.fromkeys((name, template))
    found = [f"{place}/{each}" for each in names for place in places]
    unit = next(filter(os.path.lexists, found), None)
    if unit is None:
        raise UnitError("unit", f"there is none of this name in {', '.join(places)}")
    if os.path.realpath(unit) == os.devnull:
        raise UnitError(unit, "it is masked")
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
    return {
        "%": "%",
        "n": name,
        "N": stem,
        "p": prefix,
        "i": instance,
        "d": runtime,
        **_DIRECTORIES,
    }
