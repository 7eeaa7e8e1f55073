"""The command line: as a process, and for what needs none, in this one."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from aionotify.cli import main
from tests.cli.helpers import Outcome, Parse, Result, Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def aionotify(tmp_path: Path) -> Run:
    """Run ``aionotify`` in a directory of its own, where variables of ours are not set."""

    def run(
        *argv: str,
        environ: Mapping[str, str] | None = None,
        stdin: str = "",
        stdout: int = subprocess.PIPE,
    ) -> Result:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")}
        return subprocess.run(
            [sys.executable, "-m", "aionotify", *argv],
            env={**clean, "PYTHONPATH": str(ROOT), **(environ or {})},
            cwd=tmp_path,
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Parse:
    """Like `aionotify`, but in this process: for what ends before anything has started."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("AIONOTIFY_")]:
        monkeypatch.delenv(name)

    def run(*argv: str) -> Outcome:
        try:
            code = main(argv)
        except SystemExit as ended:  # argparse's way
            code = int(ended.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run
