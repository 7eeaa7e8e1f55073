"""A headless Chromium, and a demo for it to look at."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from selenium.webdriver import Chrome

from tests.browser import chromium
from tests.browser.site import Background, Elsewhere, Site, Tab
from tests.harness import MainHost, RedisServer
from tests.harness.demo import FREE_PORTS, Demo


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's Chromium with an empty profile; one for all tests, as it takes a second to start."""
    try:
        browser = chromium.start(tmp_path_factory.mktemp("chromium"))
    except FileNotFoundError as error:
        pytest.fail(str(error))
    with browser:
        yield browser


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo on free ports."""
    with Demo(tmp_path_factory.mktemp("demo"), *FREE_PORTS) as demo:
        yield demo.wait_ready()


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    with Background() as background:
        yield background


@pytest.fixture
def open_site(
    background: Background, redis_server: RedisServer, main_host: MainHost
) -> Iterator[Callable[..., Site]]:
    """Starts a node with these settings, ``stream__heartbeat=1``."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            Site(background, redis_server, main_host, **settings)
        )


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """A node that beats each second."""
    return open_site(stream__heartbeat=1)


@pytest.fixture
def elsewhere(background: Background) -> Iterator[Elsewhere]:
    with Elsewhere(background) as elsewhere:
        yield elsewhere


@pytest.fixture
def open_tab(browser: Chrome) -> Iterator[Callable[[str], Tab]]:
    """Opens tabs, and closes them in the end."""
    first = browser.current_window_handle

    def open_tab(url: str) -> Tab:
        return Tab(browser, url)

    yield open_tab
    for handle in browser.window_handles:
        if handle != first:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(first)
    browser.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.fixture
def tab(open_tab: Callable[[str], Tab], site: Site) -> Tab:
    """A tab at the site, in which nothing listens yet."""
    return open_tab(site.page)
