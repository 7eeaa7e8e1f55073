"""Debian's Chromium, headless, with an empty profile."""

import shutil
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

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


def start(profile: Path, *flags: str) -> Chrome:
    """Start it with its profile in this directory, and with these flags besides.

    Raises FileNotFoundError: it is not installed.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise FileNotFoundError(
            "there is no chromium with its driver here; scripts/install --browser has them"
        )
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options, Service(driver))
