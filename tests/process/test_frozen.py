"""What the one-file binary does about another system, and about files that are removed."""

import shutil
import sys
from pathlib import Path

import pytest

from aionotify.process.frozen import Unpacked, find_authorities


def test_the_first_file_of_authorities_that_is_there_is_taken(tmp_path: Path) -> None:
    files = [str(tmp_path / name) for name in ("debian", "rhel", "alpine")]
    environ: dict[str, str] = {}
    find_authorities(environ, files)
    assert environ == {}
    for file in files[1:]:
        Path(file).touch()
    find_authorities(environ, files)
    assert environ == {"SSL_CERT_FILE": files[1]}


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_authorities_that_somebody_has_chosen_stay(tmp_path: Path, variable: str) -> None:
    theirs = tmp_path / "theirs"
    environ = {variable: str(theirs)}
    theirs.touch()
    find_authorities(environ, [__file__])
    assert environ == {variable: str(theirs)}
    theirs.unlink()  # and then they were meant for another system
    find_authorities(environ, [__file__])
    assert environ["SSL_CERT_FILE"] == __file__


def test_a_process_unpacks_anew_when_something_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/b", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    unpacked = Unpacked()
    assert unpacked.environ() == {}
    (tmp_path / "a/b").unlink()
    assert unpacked.environ() == {"PYINSTALLER_RESET_ENVIRONMENT": "1"}
    shutil.rmtree(tmp_path)
    assert unpacked.environ() == {"PYINSTALLER_RESET_ENVIRONMENT": "1"}


def test_elsewhere_there_is_nothing_to_unpack() -> None:
    assert Unpacked().environ() == {}
