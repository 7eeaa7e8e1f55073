"""A clock for a process of its own, which a test sets as somebody sets a machine's clock.

By a few lines of C (clock.c) that the dynamic linker puts before the C library's. The process knows
nothing of it, and our own time is not concerned.
"""

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")
_BUILD = Path(__file__).parents[2] / "build"


class NoCompiler(Exception):
    """There is nothing here that can compile C."""


class Clock:
    """The time of day that a process sees; `directory` is for its files.

    Attributes:
        environ: to start the process with, besides its own.
        off: seconds by which the clock is something else than the machine's.

    Raises NoCompiler.
    """

    def __init__(self, directory: Path) -> None:
        file = directory / "clock-offset"
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)
        self.environ: Mapping[str, str] = {
            "LD_PRELOAD": str(_library()),
            "CLOCK_OFFSET": str(file),
        }
        self.off = 0.0

    def set(self, off: float) -> None:
        """Have it be so many seconds off; in force at once."""
        self.off = off
        self._memory[:] = struct.pack("q", round(off * 1_000_000))

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self.set(self.off + seconds)


def _library() -> Path:
    """Compile it, unless that was done."""
    library = _BUILD / "clock.so"
    if library.exists() and library.stat().st_mtime > _SOURCE.stat().st_mtime:
        return library
    compiler = shutil.which("cc") or shutil.which("tcc", path=_BUILD / "services" / "bin")
    if compiler is None:
        raise NoCompiler("there is no C compiler; scripts/install-services brings a small one")
    _BUILD.mkdir(exist_ok=True)
    new = _BUILD / f"clock-{os.getpid()}.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-nostdlib", "-o", str(new), str(_SOURCE)], check=True
    )
    new.replace(library)
    return library
