"""Takes the pictures of the shop's page that README.rst shows: scripts/screenshots."""

import argparse
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome

from tests.browser import chromium
from tests.browser.page import Page
from tests.harness.demo import FREE_PORTS, Demo

IMAGES = Path(__file__).parents[2] / "docs/images"
DESKTOP, PHONE = (1280, 900), (390, 844)


def show(browser: Chrome, size: tuple[int, int], scheme: str) -> None:
    """Show the page at a size, in light or dark."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1.5, "mobile": size == PHONE}
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    # Nothing that is half way there.
    still = "document.getAnimations().map((animation) => animation.finished)"
    browser.execute_async_script(f"Promise.allSettled({still}).then(arguments[0])")


def play(page: Page) -> None:
    """Let something happen, of which bob misses a part."""
    page.buy("alice", "Desk lamp")
    page.wait(lambda: len(page.items("alice")) == 2)
    page.write("bob", "Is the lamp for me?")
    page.wait(lambda: page.unread("alice") == 3)
    page.press("#of-alice .bell")
    page.press("#of-bob .cut")
    page.buy("alice", "Teapot")
    page.write("alice", "No. Shall we have tea?")
    page.announce("Free delivery until Friday")
    page.wait(lambda: page.unread("alice") == 3)
    page.wait(lambda: not page.find("#toasts").text)
    page.run("const real = setTimeout; window.setTimeout = (act, ms) => ms < 5000 && real(act, ms)")
    page.press("#of-bob .cut")
    page.wait(lambda: page.unread("bob") == 2)
    page.run("scrollTo(0, 0); document.activeElement.blur()")


def main() -> None:
    """Write the pictures into a directory."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=IMAGES)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        chromium.start(Path(temporary, "profile")) as browser,
        Demo(Path(temporary), *FREE_PORTS) as demo,
    ):
        demo.wait_ready()
        show(browser, DESKTOP, "light")
        play(Page(browser, demo, is_new=True))
        for name, size, scheme in (
            ("shop-light", DESKTOP, "light"),
            ("shop-dark", DESKTOP, "dark"),
            ("shop-phone-light", PHONE, "light"),
        ):
            show(browser, size, scheme)
            browser.save_screenshot(str(directory / f"{name}.png"))


if __name__ == "__main__":
    main()
