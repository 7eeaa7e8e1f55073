"""The npm package that scripts/build-npm makes."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

from aionotify._version import __version__
from tests.browser.node import MODULE, run_node

ROOT = Path(__file__).parents[2]
TYPES = MODULE.with_name("aionotify.d.ts").read_text("utf-8")


def build(directory: Path) -> Path:
    """The package, made without a network: there is none for it, and no npm."""
    words = [sys.executable, str(ROOT / "scripts/build-npm"), str(directory)]
    done = subprocess.run(words, env={}, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_the_package_is_installed_and_imported_by_its_name(tmp_path: Path) -> None:
    package = build(tmp_path / "dist")
    assert package.name == f"aionotify-{__version__}.tgz"
    installed = tmp_path / "node_modules/aionotify"
    installed.mkdir(parents=True)
    with tarfile.open(package) as tar:
        for member in tar:  # without extractall(), which wants its filter from Python 3.11.4 on
            content = tar.extractfile(member)
            assert content is not None
            (installed / Path(member.name).relative_to("package")).write_bytes(content.read())
    script = """
        const { Notifications, Parser } = await import("aionotify");
        const events = new Parser().push(new TextEncoder().encode("data: 1\\n\\n"));
        console.log(JSON.stringify([events, Notifications.prototype instanceof EventTarget]));
    """
    assert run_node(script, cwd=tmp_path) == [[{"type": "message", "data": "1"}], True]
    assert (installed / "aionotify.js").read_bytes() == MODULE.read_bytes()
    assert sorted(path.name for path in installed.iterdir()) == [
        *("LICENSE", "README.md", "aionotify.d.ts", "aionotify.js", "package.json"),
    ]


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    assert build(tmp_path / "1").read_bytes() == build(tmp_path / "2").read_bytes()


def test_its_types_have_what_the_module_has() -> None:
    """No member, option or member of an error is told that does not exist, and none is left out."""
    script = f"""
        const module = await import("{MODULE.as_uri()}");
        const own = (value) => Object.getOwnPropertyNames(value.prototype);
        console.log(JSON.stringify([Object.keys(module), own(module.Notifications)]));
    """
    exported, members = run_node(script)
    source = MODULE.read_text("utf-8")
    assert sorted(re.findall(r"export (?:class|function) (\w+)", TYPES)) == sorted(exported)
    for member in {*members, "readyState"} - {"constructor"}:
        assert re.search(rf"(?m)^  (readonly )?{member}\b", TYPES), member
    told = set(re.findall(r"(?m)^ {2,6}(\w+)\??: (?!.*\().*;", TYPES.partition("Lost")[0]))
    assert told >= {"token", "withCredentials", "lastEventId", "storage", "share"}
    for option in {*told, "getToken", "ticket"}:
        assert re.search(rf"\b{option}\b", source), option
