"""Where settings come from: a file, systemd credentials, the environment, flags.

Collects them into one unchecked mapping, where later sources replace earlier ones, and records the
source of each so that an error can name it. This module knows no particular setting.
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from aionotify.config import yaml12
from aionotify.config.fields import type_name
from aionotify.config.schema import Setting, suggestion
from aionotify.errors import ConfigError

PREFIX = "AIONOTIFY_"
MAX_SECRET = 1 << 16  # bytes of a file that holds one setting


class Sources:
    """The settings that were found.

    `values` is nested as in config.yaml. `problems` are errors of reading, by dotted name or name
    of the variable.
    """

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        self._settings = settings
        self._origins: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.problems: dict[str, str] = {}

    def read_file(self, path: str | os.PathLike[str]) -> None:
        """Read the settings of the YAML file at `path`.

        Raises ConfigError if it is not readable YAML.
        """
        source = os.fspath(path)
        try:
            with open(path, "rb") as file:
                values = yaml12.load(file.read(yaml12.MAX_BYTES + 1), source)
        except OSError as error:
            raise ConfigError({"file": f"cannot be read: {error.strerror}"}, source) from None
        if not isinstance(values, dict | None):
            raise ConfigError({"file": f"expected a mapping, got {type_name(values)}"}, source)
        self.values = values or {}

    def read_credentials(self, environ: Mapping[str, str]) -> None:
        """Read the files in systemd's $CREDENTIALS_DIRECTORY that have the name of a setting.

        Other files belong to other programs (systemd.exec(5), "CREDENTIALS"). A file with the name
        of one of our sections is a misspelt setting.
        """
        directory = environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            return
        sections = {path.partition(".")[0] for path in self._settings}
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            self.problems["CREDENTIALS_DIRECTORY"] = f"cannot be read: {error.strerror}"
            return
        for name in names:
            if name in self._settings:
                self._put_file(name, Path(directory, name), f"credential {name}")
            elif "." in name and name.partition(".")[0] in sections:
                hint = suggestion(name, list(self._settings))
                self.problems[f"credential {name}"] = f"unknown{hint}"

    def read_environ(self, environ: Mapping[str, str]) -> None:
        """Read the variables ``AIONOTIFY_SECTION__KEY``, and the files ``…__KEY_FILE`` name."""
        for name in sorted(environ):
            if not name.startswith(PREFIX) or "__" not in name:
                continue
            path = name.removeprefix(PREFIX).lower().replace("__", ".")
            if path in self._settings:
                self._put(path, environ[name], name)
            elif (of := path.removesuffix("_file")) in self._settings:
                if variable(of) in environ:
                    self.problems[name] = f"expected either this or {variable(of)}, got both"
                else:
                    self._put_file(of, Path(environ[name]), name)
            else:
                close = get_close_matches(path, self._settings, 1)
                hint = f"; did you mean {variable(close[0])}?" if close else ""
                self.problems[name] = f"unknown{hint}"

    def read_overrides(self, overrides: Mapping[str, str]) -> None:
        """Read `overrides`: texts by dotted name, as flags give them."""
        for path, text in overrides.items():
            if path in self._settings:
                self._put(path, text, f"--{path}")
            else:
                self.problems[path] = "unknown" + suggestion(path, list(self._settings))

    def origin(self, path: str) -> str | None:
        """Return the source of the setting at `path`, or of its list; None for the file."""
        return self._origins.get(path) or self._origins.get(path.rpartition(".")[0])

    def _put_file(self, path: str, file: Path, origin: str) -> None:
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_SECRET + 1)
            text = content.decode()
        except OSError as error:
            self.problems[path] = f"cannot be read: {error.strerror} ({origin})"
        except UnicodeDecodeError:
            self.problems[path] = f"expected text in UTF-8 ({origin})"
        else:
            if len(content) > MAX_SECRET:
                self.problems[path] = f"expected a file of at most {MAX_SECRET} bytes ({origin})"
            else:
                self._put(path, text, origin)

    def _put(self, path: str, text: str, origin: str) -> None:
        try:
            value = self._settings[path].field.from_text(text)
        except ConfigError as error:
            self.problems[path] = f"{'; '.join(error.problems.values())} ({origin})"
            return
        *sections, key = path.split(".")
        values = self.values
        for section in sections:
            below = values.get(section)
            if below is None:
                below = values[section] = {}
            if not isinstance(below, dict):
                return  # the file is wrong here, and will be told so
            values = below
        values[key] = value
        self._origins[path] = origin


def variable(path: str) -> str:
    """Return the environment variable of the setting at `path`."""
    return PREFIX + path.upper().replace(".", "__")


def overlooked(environ: Mapping[str, str], paths: Iterable[str]) -> dict[str, str]:
    """Return the variables that name one of `paths`, but for an underscore, and how it is written.

    ``AIONOTIFY_SERVER_PORT`` may be meant for us, or for somebody else: it cannot be refused. What
    is merely similar is not taken for ours, since Kubernetes sets ``AIONOTIFY_SERVICE_PORT``, and
    more like it, for a service of our name.
    """
    names = [variable(path) + end for path in paths for end in ("", "_FILE")]
    ours = {name.replace("__", "_"): name for name in names}
    return {name: ours[name] for name in sorted(environ) if name in ours}
