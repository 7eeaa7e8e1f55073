"""What is collected while a failure is reported costs neither the report nor the run."""

import subprocess
import sys
from pathlib import Path

from tests.harness.server import REPOSITORY

FAILS = '''
import ast, gc

class Garbage:
    """Whose end is as busy as that of a transport that was left open, and makes more of it."""

    wanted = True

    def __init__(self):
        self.itself = self

    def __del__(self):
        if Garbage.wanted:
            ast.parse("left + open")
            Garbage()

def test_that_fails():
    Garbage()
    gc.set_threshold(1)
    assert not "as it should"

def test_after_it():
    Garbage.wanted = False
'''


def test_the_run_goes_on_after_a_failure_that_leaves_garbage(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(FAILS)
    ours = ("-c", "/dev/null", "--rootdir", str(tmp_path), "-p", "tests.plugins.whole_reports")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *ours, "-p", "no:cacheprovider", "-q", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    assert 'assert not "as it should"' in run.stdout
