"""A main host that is a process of its own, in place of the one that other tests go by."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.harness import free_port
from tests.integration.auth.main_host_process import Seen

PROGRAM = Path(__file__).parent / "main_host_process.py"


class HostProcess:
    """A main host to which ``token-42`` is user ``42``; see `Behaviour` for what it can be told."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def be(self, **behaviour: Any) -> Seen:
        """Have it behave so from now on; returns what it has seen up to now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(behaviour) + "\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._process.stdout.readline()))

    @property
    def seen(self) -> Seen:
        return self.be()

    def forget(self) -> None:
        """Count from nothing again."""
        self.be(forget=True)

    def down(self) -> None:
        """Drop all connections and listen no more."""
        self.be(down=True)

    def up(self) -> None:
        self.be(up=True)

    def __enter__(self) -> Self:
        self.be()  # it answers when it listens
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def main_host() -> Iterator[HostProcess]:
    """A main host for this test; `serve` has its servers ask it."""
    with HostProcess() as host:
        yield host
