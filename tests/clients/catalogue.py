"""The clients that are tried: how each is started, and where its lines are."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_from_pypi
from pathlib import Path
from typing import Literal

from aionotify._version import __version__
from tests.browser.node import node_program

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
BUILT = ROOT / "build/clients"  # packages, and what is built of the programs
SERVICES = ROOT / "build/services/bin"

Where = Literal["browser", "node", "python", "shell", "go", "rust", "java"]


@dataclass(frozen=True)
class Client:
    """One of the clients.

    Attributes:
        name: in the table of docs/clients.rst.
        where: what it runs in.
        program: in `PROGRAMS`, or which example of docs/browser.rst, ``browser.rst#1``.
        token: how it says who it is: ``header``, ``cookie`` or ``ticket``.
    """

    name: str
    where: Where
    program: str
    token: Literal["header", "cookie", "ticket"] = "header"

    @property
    def built(self) -> Path:
        """Where its program is, if it is one that scripts/clients builds."""
        return BUILT / "bin" / f"{self.where}-{Path(self.program).parent.name}"

    @property
    def label(self) -> str:
        """What can be part of a host's name and of a file's."""
        return self.name.lower().replace(" ", "-").replace("/", "-").replace(".", "-").strip("@")


CLIENTS = (
    Client("aionotify's module", "browser", "javascript/aionotify.js"),
    Client("EventSource, ticket", "browser", "browser.rst#2", "ticket"),
    Client("EventSource, cookie", "browser", "browser.rst#3", "cookie"),
    Client("@microsoft/fetch-event-source", "browser", "javascript/fetch-event-source.js"),
    Client("event-source-polyfill", "browser", "javascript/event-source-polyfill.js"),
    Client(
        "reconnecting-eventsource", "browser", "javascript/reconnecting-eventsource.js", "cookie"
    ),
    Client("sse.js", "browser", "javascript/sse.js"),
    Client("eventsource", "node", "javascript/eventsource.js"),
    Client("undici", "node", "javascript/undici.js"),
    Client("aionotify.Client", "python", "python/aionotify-client.py"),
    Client("httpx-sse", "python", "python/httpx-sse.py"),
    Client("sseclient-py", "python", "python/sseclient-py.py"),
    Client("requests-sse", "python", "python/requests-sse.py"),
    Client("launchdarkly-eventsource", "python", "python/launchdarkly-eventsource.py"),
    Client("aiohttp-sse-client2", "python", "python/aiohttp-sse-client2.py"),
    Client("tmaxmax/go-sse", "go", "go/tmaxmax/main.go"),
    Client("launchdarkly/eventsource", "go", "go/launchdarkly/main.go"),
    Client("r3labs/sse", "go", "go/r3labs/main.go"),
    Client("reqwest-eventsource", "rust", "rust/reqwest-eventsource/main.rs"),
    Client("eventsource-client", "rust", "rust/eventsource-client/main.rs"),
    Client("okhttp-eventsource", "java", "java/okhttp-eventsource/Main.java"),
    Client("okhttp-sse", "java", "java/okhttp-sse/Main.java"),
    Client("curl", "shell", "shell/curl.sh"),
)


COMPILED = ("go", "rust", "java")


def present() -> list[Client]:
    """Return those that this machine can run."""
    return [each for each in CLIENTS if each.where not in COMPILED or each.built.exists()]


def command(client: Client, javascript: Path) -> Sequence[str | Path]:
    """Return what starts a client that is no page; `javascript` has its programs and packages."""
    program = PROGRAMS / client.program
    match client.where:
        case "node":
            return [node_program(), "--no-warnings", javascript / program.name]
        case "python":
            return [sys.executable, program]
        case "shell":
            return ["bash", program]
        case _:
            return [client.built]


def version(client: Client) -> str:
    """Return the version of a client that is tried."""
    if client.name.startswith("aionotify"):
        return __version__
    if client.name.startswith("EventSource"):
        said = subprocess.run(["chromium", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split(".")[0]
    if client.where in ("browser", "node"):
        package = BUILT / "node_modules" / client.name / "package.json"
        return str(json.loads(package.read_text("utf-8"))["version"])
    if client.where == "python":
        return version_from_pypi(client.name)
    if client.where == "shell":
        curl = [str(SERVICES / "curl"), "--version"]
        said = subprocess.run(curl, capture_output=True, text=True, check=True)
        return said.stdout.split()[1]
    lock, pattern = {
        "go": ("go/go.mod", r"{}\S* v([0-9.]+)"),
        "rust": ("rust/Cargo.lock", r'name = "{}"\nversion = "([0-9.]+)"'),
        "java": ("java/pom.xml", r"<artifactId>{}</artifactId>\s*<version>([0-9.]+)"),
    }[client.where]
    locked = (PROGRAMS / lock).read_text("utf-8")
    found = re.search(pattern.format(re.escape(client.name)), locked)
    assert found, f"{lock} has no version of {client.name}"
    return found[1]
