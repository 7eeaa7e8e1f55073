"""The files that the docs show can be read by what they are for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aionotify import Config, load_config
from aionotify.app import check
from tests.deploy.proxies import service
from tests.docs.snippets import snippet

CONFIGURATIONS = {
    "docs/configuration.rst": snippet("docs/configuration.rst", "url: https://app.internal:8000"),
    "jwt": snippet("docs/authentication.rst", "jwks_url: https://login.example.com"),
    "operators": snippet("docs/operations.rst", "rights: [admin, revoke]"),
    "away": snippet("docs/away.rst", "stream: mailer"),
    "keys": snippet("docs/authentication.rst", 'recipients: "shop:"'),
}


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_server_could_start_with_a_configuration(tmp_path: Path, text: str) -> None:
    """And it says something: nothing in it is a default."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    config = load_config(path)
    assert config != Config()
    check(config)


def test_errors_of_a_configuration_are_told_as_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "auth: {main_host: {timeout: 3s}}\nstream: {hartbeat: 1}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "aionotify", "serve"],
        cwd=tmp_path,
        env={**os.environ, "AIONOTIFY_SERVER__PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == snippet("docs/configuration.rst", "stream.hartbeat: unknown")


def test_each_address_of_redis_is_one(tmp_path: Path) -> None:
    for line in snippet("docs/configuration.rst", "redis+sentinel://").splitlines():
        Config.from_mapping({"redis": {"url": line}})


@pytest.mark.e2e
def test_prometheus_takes_the_lines_for_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    path.write_text(snippet("docs/operations.rst", "scrape_configs"))
    words = [service("promtool"), "check", "config", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f":{Config().server.port}" in path.read_text()


def test_the_kernel_has_each_setting(tmp_path: Path) -> None:
    """With as many values."""
    lines = snippet("docs/deployment.rst", "net.core.somaxconn").splitlines()
    for line in lines:
        if not line.startswith("#"):
            name, _, value = line.partition(" = ")
            path = Path("/proc/sys", *name.split("."))
            assert len(path.read_text().split()) == len(value.split()), name
