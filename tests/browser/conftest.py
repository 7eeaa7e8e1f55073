"""A headless Chromium, and a demo for it to look at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser import chromium
from tests.browser.shop import Shop
from tests.browser.site import Background, Elsewhere, Site, Tab
from tests.harness import MainHost, NotifyServer, RedisServer
from tests.harness.demo import FREE_PORTS, Demo
from tests.harness.example import SECRETS, Example


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


@pytest.fixture
def open_shop(
    background: Background, redis_server: RedisServer, browser: Chrome, tmp_path: Path
) -> Iterator[Callable[..., Shop]]:
    """Copies an example and starts a node with its configuration, which knows the publish key.

    And with further settings, ``publish__stream=True``.
    """
    with ExitStack() as stack:

        def open_shop(name: str, **more: object) -> Shop:
            example = stack.enter_context(Example(name, tmp_path, redis_server.port))
            settings: Mapping[str, object] = {
                "server.port": example.node,
                "redis.url": redis_server.url,
                "admin.publish_keys": [SECRETS["PUBLISH_KEY"]],
                "auth.main_host.cache_ttl": 0,
                "auth.main_host.refusal_ttl": 0,
                **{name.replace("__", "."): value for name, value in more.items()},
            }
            server = NotifyServer(settings, file=example.config)
            background.call(server.start(until="/readyz"))
            stack.callback(redis_server.cli, "DEL", "aionotify:publish")  # it has no TTL
            stack.callback(lambda: background.call(server.aclose()))
            stack.callback(_leave, browser)
            return Shop(example, server, browser)

        yield open_shop


def _leave(browser: Chrome) -> None:
    """Have the next test find nothing of this one: no cookie, no page, nothing on the console."""
    browser.delete_all_cookies()
    browser.get("about:blank")
    browser.get_log("browser")  # type: ignore[no-untyped-call]
