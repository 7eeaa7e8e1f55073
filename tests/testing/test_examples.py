"""What docs/testing.rst says to write passes with pytest alone, without plugins for asyncio."""

import subprocess
import sys
from pathlib import Path

from tests.docs.snippets import snippets


def test_every_example_of_the_page_passes(tmp_path: Path) -> None:
    """As it stands, and without a warning."""
    for each in snippets("docs/testing.rst"):
        name, _, code = each.text.partition("\n")
        (tmp_path / name.removeprefix("# ")).write_text(code)
    plugins = [word for name in ("asyncio", "aiohttp") for word in ("-p", f"no:{name}")]
    words = [sys.executable, "-m", "pytest", "-W", "error", "--rootdir", ".", *plugins]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "5 passed" in run.stdout
