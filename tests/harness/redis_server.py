"""A real Redis (Valkey) to hurt: stop it, kill it, freeze it, start it again where it was."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from aionotify.broker.embedded.server import server_binary
from tests.harness.clock import Clock
from tests.harness.ports import free_port
from tests.harness.wait import PATIENCE


class RedisServer:
    """A server on a TCP port of 127.0.0.1 with `directory` to itself.

    Port and data survive `stop` and `restart`; the data only if `persistent`. `options` are
    directives of valkey.conf; it goes by `clock`, if there is one. All methods block, for some
    50 ms at most.
    """

    def __init__(
        self,
        directory: Path,
        *,
        persistent: bool = False,
        options: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.port = free_port()
        self.directory = directory
        self.log = directory / "valkey.log"
        self.clock = clock
        self._options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "appendonly": "yes" if persistent else "no",
            "appendfsync": "always",  # what was acknowledged survives kill()
            "enable-debug-command": "yes",
            **(options or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What goes into `redis.url`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and return when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | (self.clock.environ if self.clock is not None else {}),
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.cli("PING")
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Valkey does not start:\n{self.log.read_text()}") from None
                time.sleep(0.005)
            else:
                return

    def stop(self) -> None:
        """End it in order (SIGTERM); does nothing if it is not running."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start it: connections and unpersisted data are gone, the port stays."""
        self.stop()
        self.start()

    def keep(self) -> Path:
        """Write down what there is; return the file, which stays as it is."""
        self.cli("SAVE")
        return (self.directory / "dump.rdb").replace(self.directory / "kept.rdb")

    def start_with(self, kept: Path | None) -> None:
        """Start it with what was written down earlier, or with nothing, in place of what it had."""
        shutil.rmtree(self.directory / "appendonlydir", ignore_errors=True)
        (self.directory / "dump.rdb").unlink(missing_ok=True)
        if kept is not None:
            shutil.copy(kept, self.directory / "dump.rdb")
        before = self._options["appendonly"]
        self._options["appendonly"] = "no"
        try:
            self.start()
        finally:
            self._options["appendonly"] = before
        self.cli("CONFIG", "SET", "appendonly", before)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): the kernel still accepts connections and data, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def cli(self, *words: str | bytes | float, timeout: float = 5) -> Any:
        """Run one command; return its reply or raise its error, both as redis-py has them."""
        with redis.Redis(
            port=self.port,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            return client.execute_command(*words)

    def sentinel(
        self, directory: Path, service: str, *, port: int | None = None, epoch: int = 0
    ) -> "RedisServer":
        """Return a Sentinel, not started, that watches this server as `service`.

        Or what is before it at `port`. `epoch` is that of its configuration.
        """
        return _Sentinel(port or self.port, directory, service, epoch)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        options = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        return [str(server_binary()), *options]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class _Sentinel(RedisServer):
    def __init__(self, master: int, directory: Path, service: str, epoch: int) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__(directory)
        self._config = directory / "sentinel.conf"
        self._config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {service} 127.0.0.1 {master} 1\n"
            f"sentinel down-after-milliseconds {service} 500\n"
            f"sentinel config-epoch {service} {epoch}\n"
        )

    def _command(self) -> list[str]:
        return [str(server_binary()), str(self._config), "--sentinel"]
