"""A headless Chromium, and a demo for it to look at."""

import shutil
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.harness.demo import FREE_PORTS, Demo

FLAGS = (
    "--headless",
    "--no-sandbox",  # it refuses to run as root with one, and CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # it is to talk to our server and to nobody else
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1160,1000",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's Chromium with an empty profile; one for all tests, as it takes a second to start."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.fail("there is no chromium with its driver here; scripts/install --browser has them")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with Chrome(options, Service(driver)) as browser:
        yield browser


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo on free ports."""
    with Demo(tmp_path_factory.mktemp("demo"), *FREE_PORTS) as demo:
        yield demo.wait_ready()
