"""Runs the image as a container runtime does, and all of compose.yaml: see scripts/check-image.

A container is the mounted image behind chroot, with processes, mounts and a user of its own. Its
network is not: each service of compose.yaml has a loopback address, under its name.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError

import yaml

from aionotify._version import __version__
from tests.deploy.node import REPOSITORY
from tests.harness import EventParser

TIMEOUT = 60  # seconds; for what takes one
STOP_TIMEOUT = 10  # seconds in which Docker kills
EARLY_STOPS = 60
SIZE = 250  # MB that the image may add to its base

_CHROOT = shutil.which("chroot") or "chroot"  # found by our PATH, and not by the image's

# What a runtime does before it starts process 1. $1 is the root, the rest is run.
_CONTAIN = """
set -e
root=$1 user=$2 readonly=$3; shift 3
mount --bind "$root" "$root"
for each in $MOUNTS; do
    target=$root${each#*:}
    mount --bind "${each%%:*}" "$target"
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
[ "$readonly" = 0 ] || mount -o remount,bind,ro "$root"
chroot=$CHROOT; unset MOUNTS CHROOT
exec "$chroot" --userspec="$user" "$root" "$@"
"""


def tell(line: str) -> None:
    """Say how it goes."""
    sys.stderr.write(f"{line}\n")


def said(*words: str) -> str:
    """What a command prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT} s: {what}"
        time.sleep(0.02)


class Image:
    """A built image, as buildah has it."""

    def __init__(self, name: str) -> None:
        self.name = name
        told = json.loads(said("buildah", "inspect", "--type", "image", name))
        self.config: dict[str, Any] = told["Docker"]["config"]
        self.environ = dict(each.split("=", 1) for each in self.config.get("Env") or [])
        self.entrypoint: list[str] = self.config.get("Entrypoint") or []
        self.command: list[str] = self.config.get("Cmd") or []
        self.user: str = self.config.get("User") or "0:0"


class Container(AbstractContextManager["Container"]):
    """One that runs.

    Args:
        image: of which it is made.
        entrypoint, command: in place of the image's.
        environ: in addition to the image's.
        hosts: addresses by name.
        mounts: files and folders of this machine, by their places in it.
        readonly: its root is.
    """

    def __init__(
        self,
        image: Image,
        *,
        entrypoint: Sequence[str] | None = None,
        command: Sequence[str] | None = None,
        environ: Mapping[str, str] | None = None,
        hosts: Mapping[str, str] | None = None,
        mounts: Mapping[str, Path] | None = None,
        readonly: bool = True,
    ) -> None:
        self._image = image
        self.environ = {"PATH": os.defpath, **image.environ, **(environ or {})}
        words = [*(image.entrypoint if entrypoint is None else entrypoint)]
        words += image.command if command is None else command
        self._words = words
        self._hosts = hosts or {}
        self._mounts = mounts or {}
        self._readonly = readonly
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.name = said("buildah", "from", self._image.name)
        self.root = Path(said("buildah", "mount", self.name))
        lines = "".join(f"{address} {name}\n" for name, address in self._hosts.items())
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{lines}")
        for place, source in self._mounts.items():
            target = self.root / place.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.mkdir(exist_ok=True) if source.is_dir() else target.touch()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        subprocess.run(["buildah", "rm", self.name], check=True, capture_output=True)

    def start(self) -> None:
        """Run it; its output goes to a file beside its root."""
        mounts = " ".join(f"{source}:{place}" for place, source in self._mounts.items())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--pid", "--fork", "--mount"),
                    *("sh", "-c", _CONTAIN, "sh", str(self.root), self._image.user),
                    *(str(int(self._readonly)), *self._words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environ, "MOUNTS": mounts, "CHROOT": _CHROOT},
            )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one more process in it, as ``docker exec`` does."""
        inside = [_CHROOT, f"--userspec={self._image.user}", str(self.root), *words]
        return subprocess.run(inside, env=self.environ, capture_output=True, text=True, check=False)

    def healthy(self) -> bool:
        """Whether the image's own check says so."""
        kind, *words = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*words).returncode == 0

    def first_process(self, program: str) -> int:
        """Its process 1, as soon as that is `program`."""
        assert self._process is not None
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            try:
                [pid] = self._children()
                if Path(os.readlink(f"/proc/{pid}/exe")).name == program:
                    return int(pid)
            except (OSError, ValueError):
                assert self._process.poll() is None, self.log()
        raise AssertionError(f"{program} did not start")

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """End it with SIGTERM to its process 1, and return the exit code."""
        assert self._process is not None
        [pid] = self._children()
        os.kill(int(pid), signal.SIGTERM)
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End it, if it runs: all of it, as process 1 ends."""
        if self._process is not None and self._process.poll() is None:
            for pid in self._children():
                os.kill(int(pid), signal.SIGKILL)
            self._process.wait(TIMEOUT)

    def _children(self) -> list[str]:
        assert self._process is not None
        pid = self._process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def wait(self, timeout: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def _log(self) -> Path:
        return self.root.parent / "log"


def check_build(image: Image, base: Image) -> None:
    """It is small, nobody's, and has no more than it needs."""
    megabytes = (_size(image) - _size(base)) // 1_000_000
    tell(f"size: {megabytes} MB more than its base")
    assert megabytes < SIZE, megabytes
    assert not image.user.startswith("0"), image.user
    with Container(image) as container:
        version = ["buildah", "run", "--isolation", "chroot", container.name, "--", "aionotify"]
        assert said(*version, "--version") == f"aionotify {__version__}"
        packages = container.root / "opt/aionotify"
        for name in (
            "bin/pip",
            "lib/python3*/site-packages/pip",
            "lib/python3*/site-packages/tests",
        ):
            assert not list(packages.glob(name)), name
        owned = said("find", str(packages), "-uid", image.user.split(":")[0])
        assert owned == "", f"may be written to: {owned}"


def _size(image: Image) -> int:
    with Container(image) as container:
        return int(said("du", "-sx", "--bytes", str(container.root)).split()[0])


def check_alone(image: Image) -> None:
    """Without anything that it needs it is alive, says so, and stops before Docker kills it."""
    with Container(image) as container:
        assert not container.healthy()
        container.start()
        eventually(container.healthy, "the check passes")
        assert container.stop() == 0, container.log()
        assert not container.healthy()


def check_early_stops(image: Image) -> None:
    """SIGTERM ends it at any moment, from the first on.

    That is when the init has been loaded and blocks the signal: before that, the kernel drops it.
    """
    worst, too_early = 0.0, 0
    with Container(image) as container:
        for number in range(EARLY_STOPS):
            container.start()
            pid = container.first_process(image.entrypoint[0])
            time.sleep(number * 0.001)
            took = listens(pid)
            started = time.monotonic()
            os.kill(pid, signal.SIGTERM)
            try:
                code = container.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                assert not took, f"lost {number} ms after the start"
                too_early += 1
                container.kill()
                continue
            worst = max(worst, time.monotonic() - started)
            assert code in (0, 128 + signal.SIGTERM), (number, code, container.log())
    tell(f"early stops: {EARLY_STOPS}, the slowest took {worst:.2f} s, {too_early} came too early")
    assert too_early <= EARLY_STOPS // 20, too_early


def listens(pid: int) -> bool:
    """Whether a process catches SIGTERM, or blocks it to take it from there."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Blk|Cgt):\s+(\w+)", status, re.MULTILINE)
    return any(int(mask, 16) >> (signal.SIGTERM - 1) & 1 for mask in masks)


class Compose(AbstractContextManager["Compose"]):
    """All services of compose.yaml."""

    def __init__(self, image: Image, services: Image) -> None:
        told = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
        self.services: dict[str, dict[str, Any]] = told["services"]
        self.hosts = {name: f"127.0.8.{2 + n}" for n, name in enumerate(self.services)}
        self.containers: dict[str, Container] = {}
        self._images = {True: image, False: services}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name, service in self.services.items():
                self.containers[name] = stack.enter_context(self._container(name, service))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def start(self, name: str) -> None:
        """Start a service when those that it waits for are as it wants them."""
        for other, condition in self.services[name].get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                eventually(lambda other=other: self.healthy(other), f"{other} is healthy")  # type: ignore[misc]
        self.containers[name].start()

    def healthy(self, name: str) -> bool:
        """Whether the check that compose.yaml has for it says so."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        at = [word.replace("127.0.0.1", self.hosts[name]) for word in words]
        return self.containers[name].run(*at).returncode == 0

    def _container(self, name: str, service: Mapping[str, Any]) -> Container:
        ours = "build" in service
        address = self.hosts[name]
        environ: dict[str, str] = dict(service.get("environment", {}))
        entrypoint, command = service.get("entrypoint"), service.get("command")
        if name.startswith("node-"):  # where the others are, as they share an interface
            environ |= {"AIONOTIFY_SERVER__HOST": address, "AIONOTIFY_ADMIN__HOST": address}
            environ["AIONOTIFY_SERVER__TRUSTED_PROXIES"] = "127.0.0.0/8"
        if name == "redis":
            command = [*service["command"], "--bind", "*"]
        if name == "nginx":
            command = ["nginx", "-g", "daemon off;"]
        mounts = {}
        for volume in service.get("volumes", ()):
            source, place, *_ = volume.split(":")
            if source.startswith("."):
                mounts[place] = (REPOSITORY / source).resolve()
        return Container(
            self._images[ours],
            entrypoint=entrypoint,
            command=command,
            environ=environ,
            hosts=self.hosts,
            mounts=mounts,
            readonly=service.get("read_only", False),
        )


class Stream:
    """Alice's, through nginx."""

    def __init__(self, url: str, last: str = "") -> None:
        headers = {"Authorization": "Bearer secret-of-alice"}
        if last:
            headers["Last-Event-ID"] = last
        request = urllib.request.Request(f"{url}/notify", headers=headers)
        self._response = urllib.request.urlopen(request, timeout=TIMEOUT)
        self._parser = EventParser()

    def next(self) -> tuple[Any, str]:
        """The data and the id of the next event with one of a producer; ends with the stream."""
        while line := self._response.readline():
            for event in self._parser.feed(line):
                if not event.event.startswith("aionotify."):
                    return json.loads(event.data)["data"], self._parser.last_event_id
        raise EOFError

    def close(self) -> None:
        self._response.close()


def check_compose(compose: Compose) -> None:
    """What any node publishes arrives through nginx, also after a node has been stopped."""
    for name in compose.services:
        compose.start(name)
    url = f"http://{compose.hosts['nginx']}:80"

    def reachable() -> bool:
        try:
            urllib.request.urlopen(f"{url}/notify/client.js", timeout=TIMEOUT).close()
        except URLError:
            return False
        return True

    def publish(node: str, number: int) -> None:
        done = compose.containers[node].run(
            "aionotify", "publish", "--event", "order.shipped", "alice", json.dumps(number)
        )
        assert done.returncode == 0, done.stderr

    eventually(reachable, "nginx answers")
    stream = Stream(url)
    publish("node-1", 1)
    data, last = stream.next()
    assert data == 1, data
    grace = float(compose.services["node-1"]["stop_grace_period"].removesuffix("s"))
    assert compose.containers["node-1"].stop(grace) == 0, compose.containers["node-1"].log()
    publish("node-2", 2)
    stream.close()
    stream = Stream(url, last)
    assert stream.next()[0] == 2
    stream.close()
    assert compose.containers["node-2"].stop(grace) == 0, compose.containers["node-2"].log()


def main(image_name: str, services_name: str, base_name: str) -> None:
    image, services, base = Image(image_name), Image(services_name), Image(base_name)
    check_build(image, base)
    check_alone(image)
    check_early_stops(image)
    with Compose(image, services) as compose:
        try:
            check_compose(compose)
        except Exception:
            for name, container in compose.containers.items():
                tell(f"-- {name}\n{container.log()[-2000:]}")
            raise
    tell("== the image and compose.yaml are all right")


if __name__ == "__main__":
    main(*sys.argv[1:])
