"""What docs/testing.rst says to write passes with pytest alone, without plugins for asyncio."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

PAGE = (Path(__file__).parents[2] / "docs/testing.rst").read_text("utf-8")
FILES = re.findall(r"\.\. code-block:: python\n\n   # (\w+\.py)\n((?:   .*\n|\n)+)", PAGE)


def test_every_example_of_the_page_passes(tmp_path: Path) -> None:
    """As it stands, and without a warning."""
    assert PAGE.count("code-block") == len(FILES) == 5
    for name, code in FILES:
        (tmp_path / name).write_text(dedent(code))
    plugins = [word for name in ("asyncio", "aiohttp") for word in ("-p", f"no:{name}")]
    words = [sys.executable, "-m", "pytest", "-W", "error", "--rootdir", ".", *plugins]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "5 passed" in run.stdout
