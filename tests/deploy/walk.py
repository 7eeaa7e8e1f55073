"""Types the commands of docs/deployment.rst and looks at the page: see scripts/check-deployment."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from selenium.webdriver.common.by import By

from tests.browser import chromium
from tests.docs.snippets import snippets

TIMEOUT = 60  # seconds; for what takes one
PAGE = "https://app.example.com/"
METRICS = "http://127.0.0.1:8002/metrics"
NETWORK = 9  # the descriptor of the machine's network
PHONE, DESKTOP = (390, 844), (1280, 800)  # CSS pixels

# In place of systemd's: starts and reloads what the document has as units.
SYSTEMCTL: Final = r"""#!/bin/bash
set -euo pipefail
running() { [ -e "/run/$1.pid" ] && kill -0 "$(cat "/run/$1.pid")" 2>/dev/null; }
as() { # NAME USER COMMAND...
    local rights=(--reuid "$2" --regid "$(id -gn "$2")" --clear-groups)
    setsid setpriv "${rights[@]}" "${@:3}" >"/var/log/$1.log" 2>&1 9<&- &
    echo $! >"/run/$1.pid"
}
if [ "${0##*/}" = systemd-run ]; then
    while [[ $1 == --* ]]; do [[ $1 != --unit=* ]] || name=${1#*=}; shift; done
    as "$name" nobody "$@"
    exit
fi
action=$1 name=${*: -1} name=${name%.service}
case $action:$name in
    daemon-reload:*) ;;
    reload:aionotify) kill -HUP "$(cat /run/aionotify.pid)" ;;
    enable:aionotify)
        unit=/etc/systemd/system/aionotify.service credentials=/run/credentials/aionotify
        install -d -m 0700 -o nobody "$credentials"
        sed -n 's/^LoadCredential=//p' "$unit" | while IFS=: read -r setting file; do
            [ ! -e "/etc/credstore/$file" ] ||
                install -m 0400 -o nobody "/etc/credstore/$file" "$credentials/$setting"
        done
        read -ra command <<<"$(sed -n 's/^ExecStart=//p' "$unit")"
        as aionotify nobody env CREDENTIALS_DIRECTORY="$credentials" "${command[@]}" ;;
    restart:redis-server)
        ! running redis || kill "$(cat /run/redis.pid)"
        while running redis; do sleep 0.1; done
        as redis redis redis-server /etc/redis/redis.conf --daemonize no --supervised no ;;
    restart:nginx | reload:nginx)
        if ! running nginx; then nginx 9<&-; elif [ $action = reload ]; then nginx -s reload; else
            nginx -s stop; while running nginx; do sleep 0.1; done; nginx 9<&-; fi ;;
    *) echo "no stand-in for: systemctl $*" >&2; exit 1 ;;
esac
"""


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def commands() -> list[str]:
    """What the document has to be typed, block by block."""
    return [each.text for each in snippets("docs/deployment.rst", "sh")]


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT} s: {what}"
        time.sleep(0.05)


class Machine:
    """The empty Debian, behind chroot."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("systemctl", "systemd-run"):
            (root / "usr/local/bin" / name).write_text(SYSTEMCTL)
            (root / "usr/local/bin" / name).chmod(0o755)
        # Packages start nothing: the commands that do are in the document.
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (root / "usr/sbin/policy-rc.d").chmod(0o755)

    def type(self, commands: str) -> None:
        """Run one block as a shell of root's does; a command that fails ends it."""
        for line in commands.splitlines():
            tell(f"  | {line}")
        network = []
        if "apt-get" in commands:
            network = ["nsenter", f"--net=/proc/self/fd/{NETWORK}"]
        chroot = shutil.which("chroot") or "/usr/sbin/chroot"
        done = subprocess.run(
            [*network, chroot, str(self.root), "bash", "-euc", f"cd /root\n{commands}"],
            env={
                "HOME": "/root",
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
                **{name: os.environ[name] for name in os.environ if name.startswith("PIP_")},
            },
            pass_fds=[NETWORK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{self.logs()}"

    def logs(self) -> str:
        names = ("aionotify", "main-host", "redis", "nginx/error")
        logs = [self.root / f"var/log/{name}.log" for name in names]
        return "\n".join(f"-- {log}\n{log.read_text()[-2000:]}" for log in logs if log.exists())


class Browser:
    """A Chromium for which the names lead here, and that takes any certificate."""

    def __init__(self, profile: Path) -> None:
        names = "--host-resolver-rules=MAP *.example.com 127.0.0.1"
        self.driver = chromium.start(profile, names, "--ignore-certificate-errors")

    def console(self) -> object:
        """What it has complained about."""
        return self.driver.get_log("browser")  # type: ignore[no-untyped-call]

    def lines(self) -> list[str]:
        """What the page lists."""
        return [line.text for line in self.driver.find_elements(By.CSS_SELECTOR, "li")]

    def open(self) -> None:
        """Load the page, and return when its stream is open."""
        before = opened()
        self.driver.get(PAGE)
        eventually(lambda: opened() > before, "the page has a stream")

    def picture(self, folder: Path, name: str) -> None:
        for kind, size in (("desktop", DESKTOP), ("phone", PHONE)):
            self.driver.set_window_size(*size)
            self.driver.save_screenshot(str(folder / f"{name}-{kind}.png"))


def opened() -> int:
    """How many streams the node has opened."""
    with urllib.request.urlopen(METRICS, timeout=TIMEOUT) as answer:
        text = answer.read().decode()
    return sum(
        int(float(value))
        for value in re.findall(r"^aionotify_streams_opened_total\S* (\S+)", text, re.MULTILINE)
    )


def walk(machine: Machine, screenshots: Path | None) -> None:
    """Type all commands; before those that send something, have the page open; then read it."""
    todo = commands()
    browser: Browser | None = None
    sent = 0
    for block in todo:
        orders = re.findall(r'"order": (\d+)', block)
        if not orders:
            machine.type(block)
            continue
        browser = browser or Browser(machine.root / "tmp/chromium")
        browser.open()
        machine.type(block)
        wanted = [f"Order {order} has been shipped" for order in orders]
        try:
            eventually(lambda: browser.lines() == wanted, f"{wanted} in the page")  # noqa: B023
        except AssertionError:
            tell(f"{browser.lines()} {browser.console()} {machine.logs()}")
            raise
        tell(f"==> {browser.lines()}, at {browser.driver.current_url}")
        sent += len(orders)
        if screenshots is not None:
            browser.picture(screenshots, f"page-{sent}")
    assert browser is not None
    browser.driver.quit()
    tell(f"== {len(todo)} blocks of commands were typed, {sent} notifications were in the page")


if __name__ == "__main__":
    walk(Machine(Path(sys.argv[1])), Path(sys.argv[2]) if sys.argv[2] else None)
