"""The bell of docs/guides/bell.rst, on two devices of a user."""

from collections.abc import Callable

from tests.browser.site import Site, Tab
from tests.harness.example import EXAMPLES

BELL = EXAMPLES / "bell"
OPEN = """
    document.cookie = "session=token-42";
    document.body.innerHTML = arguments[0];
    const script = document.createElement("script");
    script.type = "module";
    script.textContent = arguments[1];
    document.body.append(script);
"""
SHOWN = """
    [document.querySelector("#count").textContent,
     ...[...document.querySelectorAll("#list li")].map((line) => line.textContent + line.className)]
"""


def show(tab: Tab) -> None:
    page = (BELL / "index.html").read_text("utf-8")
    body = page[page.index("<button") : page.index("<script")]
    tab.run(OPEN, body, (BELL / "bell.js").read_text("utf-8"))


def wait_shown(tab: Tab, *wanted: str) -> None:
    text = ",".join(wanted)
    tab.wait(f"(({SHOWN}).join() === '{text}')")


def test_a_bell_lists_counts_and_is_read_on_all_devices(
    open_site: Callable[..., Site], open_tab: Callable[[str], Tab]
) -> None:
    site = open_site(auth__cookie="session", stream__retry=500)
    publish(site, "a", "b")
    tabs = [open_tab(site.page) for _ in range(2)]
    for tab in tabs:
        show(tab)
        wait_shown(tab, "2", "bunread", "aunread")
    publish(site, "c")
    for tab in tabs:
        wait_shown(tab, "3", "cunread", "bunread", "aunread")
    tabs[0].run("document.querySelector('#bell').click()")
    for tab in tabs:
        wait_shown(tab, "", "c", "b", "a")
    site.kill()
    publish(site, "d")
    site.start()
    for tab in tabs:
        wait_shown(tab, "1", "dunread", "c", "b", "a")


def publish(site: Site, *texts: str) -> None:
    for text in texts:
        site.publish(data={"text": text})
