"""What a command has printed, and how it has ended."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


@dataclass(frozen=True, slots=True)
class Outcome:
    returncode: int
    stdout: str
    stderr: str


Parse = Callable[..., Outcome]
