"""The commands of docs/deployment.rst; that they work is seen by scripts/check-deployment."""

import subprocess

import pytest

from tests.deploy.node import REPOSITORY
from tests.deploy.walk import SECTIONS, blocks, sections


@pytest.mark.parametrize("title", SECTIONS)
def test_commands_of_the_guide_are_found_and_are_shell(title: str) -> None:
    """None is written in another way than the walk finds it."""
    text = (REPOSITORY / "docs/deployment.rst").read_text(encoding="utf-8")
    found = blocks(dict(sections(text))[title])
    assert found
    for block in found:
        run = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=True
        )
        assert run.stderr == ""


def test_a_block_that_the_walk_would_miss_is_refused() -> None:
    with pytest.raises(AssertionError):
        blocks("Then type::\n\n    reboot\n")
