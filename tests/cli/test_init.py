"""``aionotify init``: the file it writes, and what it leaves alone."""

from dataclasses import replace
from pathlib import Path

from aionotify import Config, load_config
from tests.cli.helpers import Parse, Run


def test_a_new_file_has_the_defaults_and_a_key(aionotify: Run, tmp_path: Path) -> None:
    """The file loads as the defaults with one publish key, and only its owner can read it."""
    path = tmp_path / "new.yaml"
    result = aionotify("init", str(path))
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2
    assert path.stat().st_mode & 0o777 == 0o600
    config = load_config(path)
    [key] = config.admin.publish_keys
    assert (len(key.key), key.key in result.stdout) == (43, False)
    assert replace(config, admin=replace(config.admin, publish_keys=())) == Config()


def test_two_files_have_different_keys(aionotify: Run, tmp_path: Path) -> None:
    """Each file has a key of its own."""
    paths = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path in paths:
        assert aionotify("init", str(path)).returncode == 0
    one, two = (load_config(path).admin.publish_keys for path in paths)
    assert one != two


def test_an_existing_file_is_left_as_it_is(aionotify: Run, tmp_path: Path) -> None:
    """A file that exists is not overwritten, and one line says so and what to do."""
    path = tmp_path / "config.yaml"
    path.write_text("mine")
    result = aionotify("init", str(path))
    assert (result.returncode, result.stdout) == (1, "")
    expected = f"aionotify: {path}: it exists and is left as it is; name another file\n"
    assert result.stderr == expected
    assert path.read_text() == "mine"


def test_a_file_that_the_environment_names_is_written(aionotify: Run, tmp_path: Path) -> None:
    """$AIONOTIFY_CONFIG may name the file that is still to be written."""
    path = tmp_path / "later.yaml"
    result = aionotify("init", str(path), environ={"AIONOTIFY_CONFIG": str(path)})
    assert (result.returncode, path.exists()) == (0, True)


def test_a_setting_is_refused(parsed: Parse) -> None:
    """A flag of a setting would have no effect, and is refused in one line."""
    result = parsed("init", "--redis.url", "redis://127.0.0.1")
    assert result.returncode == 2
    assert "aionotify init does not use --redis.url" in result.stderr
    assert not Path("config.yaml").exists()
