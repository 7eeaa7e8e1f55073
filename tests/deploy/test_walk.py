"""The commands of docs/deployment.rst; that they work is seen by scripts/check-deployment."""

import re
import subprocess
from pathlib import Path

from aionotify import load_config
from aionotify.app import check
from tests.deploy.walk import commands


def test_commands_of_the_guide_are_shell() -> None:
    found = commands()
    assert len(found) > 10
    for each in found:
        run = subprocess.run(["bash", "-n"], input=each, capture_output=True, text=True, check=True)
        assert run.stderr == ""  # where it says that a document has no end


def test_configuration_that_the_guide_writes_is_one(tmp_path: Path) -> None:
    """First of a page on the same origin, then with what is added for another one."""
    path = tmp_path / "config.yaml"
    path.touch()
    written = "cat >>?/etc/aionotify/config.yaml <<'END'\n(.*?\n)END$"
    parts = re.findall(written, "\n".join(commands()), re.DOTALL | re.MULTILINE)
    assert len(parts) == 2
    for part in parts:
        with path.open("a") as file:
            file.write(part)
        check(load_config(path, environ={}))
    assert load_config(path, environ={}).cors.origins
