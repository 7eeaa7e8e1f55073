"""An example of docs/examples as somebody who follows its guide has it, on free ports."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.ports import free_port
from tests.harness.wait import PATIENCE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
NGINX = ROOT / "build/services/bin/nginx"
# What the guides have the application, the node, nginx and Redis listen on.
_APPLICATION, _NODE, _NGINX, _REDIS = "8000", "8001", "80", "6379"
SECRETS = {
    "SECRET": "a secret of the tests, 32 bytes",
    "SECRET_KEY": "another secret of the tests",
    "PUBLISH_KEY": "publisher-key-of-the-tests",
}


class Example:
    """A copy of ``docs/examples/<name>`` in `directory`, with free ports.

    `port` is the application's, `node` aionotify's, `nginx` that of the proxy before both.
    """

    def __init__(self, name: str, directory: Path, redis_port: int) -> None:
        self.directory = directory / name
        self.port, self.node, self.nginx = free_port(), free_port(), free_port()
        self._ports = {
            f"127.0.0.1:{_APPLICATION}": f"127.0.0.1:{self.port}",
            f"listen({_APPLICATION},": f"listen({self.port},",
            f"127.0.0.1:{_NODE}": f"127.0.0.1:{self.node}",
            f"listen {_NGINX};": f"listen 127.0.0.1:{self.nginx};",
            f"127.0.0.1:{_REDIS}": f"127.0.0.1:{redis_port}",
        }
        shutil.copytree(
            EXAMPLES / name, self.directory, ignore=shutil.ignore_patterns("__pycache__")
        )
        for path in self.directory.rglob("*"):
            if path.is_file():
                path.write_text(self.adapted(path.read_text("utf-8")))
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def config(self) -> Path:
        """The node's."""
        return self.directory / "aionotify.yaml"

    def adapted(self, text: str) -> str:
        """A text with the ports of this copy."""
        for usual, own in self._ports.items():
            text = text.replace(usual, own)
        return text

    def python(self, script: str, **environ: str) -> str:
        """Run a script as it could stand beside the example; return what it prints."""
        return self.run(sys.executable, "-c", self.adapted(script), **environ)

    def run(self, *command: str, **environ: str) -> str:
        """Run a command in the copy; return what it prints."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={**os.environ, **SECRETS, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *command: str | Path, port: int | None = None) -> None:
        """Start a part of it; return when it listens on `port`, if one is given."""
        log = self.directory / f"{Path(command[0]).name}-{len(self._running)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=os.environ | SECRETS,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._running.append(process)
        deadline = time.monotonic() + PATIENCE
        while port is not None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command} does not listen:\n{log.read_text()}")
            time.sleep(0.02)

    def start_nginx(self) -> None:
        """Start the proxy before the application and the node, as docs/examples has it."""
        assert NGINX.exists(), "nginx is missing: run scripts/install-services"
        folder = self.directory / "nginx"
        folder.mkdir()
        (folder / "site.conf").write_text(
            self.adapted((EXAMPLES / "nginx.conf").read_text("utf-8"))
        )
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "".join(f"{each}_temp_path {folder}/{each};\n" for each in folders)
        # The user that it is started by: it may be root's.
        (folder / "main.conf").write_text(
            f"daemon off;\nuser root;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n"
            "events { worker_connections 100; }\n"
            f"http {{\n{places}access_log off;\ninclude {folder}/site.conf;\n}}\n"
        )
        words = ("-p", folder, "-c", folder / "main.conf", "-e", "stderr")
        self.start(NGINX, *words, port=self.nginx)

    def logs(self) -> str:
        """What its parts have written."""
        return "\n".join(path.read_text() for path in sorted(self.directory.glob("*.log")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if error is not None:
            error.add_note(self.logs())
