"""The operator's page, in a real browser."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.site import KEY, Background, Elsewhere, Site
from tests.harness import SSEClient

T = TypeVar("T")
ADMIN = "only-admin-0123456789"
KEYS = [
    {"key": KEY, "rights": ["publish", "revoke", "read", "admin"]},
    {"key": ADMIN, "rights": ["admin"]},
]


class Page:
    """The page of a node, freshly opened in a tab of its own."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition: Callable[[], T]) -> T:
        """Return what `condition` returns once that is true."""
        return WebDriverWait(self.browser, 30, 0.02).until(lambda _: condition())

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def rows(self, table: str) -> list[list[str]]:
        """The texts of the cells of each row of the table with this body."""
        rows = self.browser.execute_script(
            "return [...document.getElementById(arguments[0]).rows]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))",
            table,
        )
        assert isinstance(rows, list)
        return rows

    def sign_in(self, key: str) -> None:
        self.wait(lambda: self.find("#key").is_displayed())
        self.find("#key").send_keys(key, Keys.ENTER)

    def wait_signed_in(self) -> None:
        self.wait(lambda: self.find("#signed-in").is_displayed() and self.rows("nodes"))

    def list_users(self, prefix: str) -> str:
        """Ask who is online until all nodes answer, and return what is said of them."""
        said = "did not answer"
        while "did not answer" in said:
            self.browser.execute_script("document.getElementById('listed').textContent = ''")
            self.find("#prefix").clear()
            self.find("#prefix").send_keys(prefix, Keys.ENTER)
            said = self.wait(lambda: self.text("#listed"))
        return said

    def look_for(self, user: str) -> str:
        """Ask for a user's streams until all nodes answer, and return what is said of them."""
        said = "did not answer"
        while "did not answer" in said:
            self.browser.execute_script("document.getElementById('found').textContent = ''")
            self.find("#user").clear()
            self.find("#user").send_keys(user, Keys.ENTER)
            said = self.wait(lambda: self.text("#found"))
        return said


@pytest.fixture
def node(open_site: Callable[..., Site], elsewhere: Elsewhere) -> Site:
    """A node at which pages from elsewhere may open streams."""
    return open_site(admin__publish_keys=KEYS, cors__origins=[elsewhere.url])


@pytest.fixture
def nodes(node: Site, open_site: Callable[..., Site]) -> tuple[Site, Site]:
    """That one, and another of the same installation."""
    return node, open_site(admin__publish_keys=KEYS)


@pytest.fixture
def page(browser: Chrome, node: Site) -> Iterator[Page]:
    """The node's page; the browser's console says nothing in the end but what a test has read."""
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")  # whose session storage is empty
    yield Page(browser, f"{node.url}/admin")
    said = browser.get_log("browser")  # type: ignore[no-untyped-call]
    browser.close()
    browser.switch_to.window(first)
    assert said == []


@pytest.fixture
def listen(background: Background) -> Iterator[Callable[..., SSEClient]]:
    """Opens streams, which last to the end of the test."""
    clients: list[SSEClient] = []

    def listen(site: Site, user: str, receive_buffer: int | None = None) -> SSEClient:
        token = f"token-{user}"
        client = SSEClient(f"{site.url}/notify", token=token, receive_buffer=receive_buffer)
        clients.append(client)
        background.call(client.connect())
        return client

    yield listen
    for client in clients:
        background.call(client.close())


def test_the_page_shows_all_nodes(
    page: Page, nodes: tuple[Site, Site], listen: Callable[..., SSEClient]
) -> None:
    one, other = nodes
    listen(one, "42")
    listen(other, "42")
    listen(other, "7")
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.wait(lambda: len(page.rows("nodes")) == 2)
    found = {row[0].rpartition("/")[2]: row for row in page.rows("nodes")}
    assert found.keys() == {str(one.server.pid), str(other.server.pid)}
    assert found[str(one.server.pid)][1:3] == ["1", "1"]
    assert found[str(other.server.pid)][1:3] == ["2", "2"]
    assert page.text("#total-streams") == "3"
    assert page.text("#refusals-none") == "Nothing has been refused."
    one.publish(5)
    page.wait(lambda: page.text("#total-delivered") not in ("\u2013", "0/s"))
    page.wait(lambda: page.text("#total-delivered") == "0/s")


def test_a_users_streams_are_found_and_ended(
    page: Page,
    nodes: tuple[Site, Site],
    listen: Callable[..., SSEClient],
    background: Background,
) -> None:
    """Everywhere, but not before it was said twice."""
    clients = [listen(site, "42") for site in nodes]
    page.sign_in(KEY)
    page.wait_signed_in()
    assert page.look_for("7") == "7 has no open streams"
    assert not page.find("#end").is_displayed()
    assert page.look_for("42") == "42 has 2 open streams"
    positions = {row[5] for row in page.rows("streams")}
    assert positions == {client.events[0].id for client in clients}
    page.find("#end").click()
    page.find("#confirm button:not(.danger)").click()
    assert page.look_for("42") == "42 has 2 open streams"
    page.find("#end").click()
    assert page.text("#confirm-title") == "End all streams of 42?"
    page.find("#confirm .danger").click()
    page.wait(lambda: page.text("#found") == "The streams of 42 end: 2 nodes were told")
    for client in clients:
        assert background.call(client.wait_end()) == "complete"
    assert page.look_for("42") == "42 has no open streams"


def test_who_is_online_is_listed_in_pages(
    page: Page, nodes: tuple[Site, Site], listen: Callable[..., SSEClient]
) -> None:
    """Those of all nodes; a user in the list is one click from his streams."""
    for number in range(6):
        listen(nodes[number % 2], f"a{number}")
    listen(nodes[0], "a0")
    listen(nodes[1], "b")
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.browser.execute_script("document.getElementById('list').dataset.limit = 4")
    assert page.list_users("") == "7 users with 8 open streams; page 1"
    assert page.text("#users").split() == ["a0", "a1", "a2", "a3"]
    assert not page.find("#previous").is_enabled()
    page.find("#next").click()
    page.wait(lambda: page.text("#listed") == "7 users with 8 open streams; page 2")
    assert page.text("#users").split() == ["a4", "a5", "b"]
    assert not page.find("#next").is_enabled()
    page.find("#previous").click()
    page.wait(lambda: page.text("#listed") == "7 users with 8 open streams; page 1")
    assert page.list_users("b") == "1 user with 1 open stream; page 1"
    assert not page.find("#pages").is_displayed()
    page.find("#users button").click()
    page.wait(lambda: page.text("#found").startswith("b has 1 open stream"))
    assert page.list_users("x") == "0 users with 0 open streams; page 1"
    page.find("#sign-out").click()
    assert page.browser.execute_script("return document.getElementById('users').innerHTML") == ""


def test_a_users_inbox_is_listed_with_what_is_read(page: Page, node: Site) -> None:
    node.publish(22, event="order.shipped")
    page.sign_in(KEY)
    page.wait_signed_in()
    page.find("#inbox-user").send_keys("42", Keys.ENTER)
    page.wait(lambda: page.text("#in-inbox") == "42: 22 unread events")
    rows = page.rows("inbox")
    assert len(rows) == 20
    assert [row[1:3] for row in rows] == [["unread", "order.shipped"]] * 20
    assert json.loads(rows[0][3])["data"] == 21
    page.find("#older").click()
    page.wait(lambda: page.text("#in-inbox") == "42: older events")
    assert [json.loads(row[3])["data"] for row in page.rows("inbox")] == [1, 0]
    assert not page.find("#older").is_displayed()
    page.find("#inbox-user").clear()
    page.find("#inbox-user").send_keys("<b>7", Keys.ENTER)
    page.wait(lambda: page.text("#in-inbox") == "<b>7: no unread events")
    page.find("#sign-out").click()
    assert page.rows("inbox") == []


def test_a_key_that_may_not_read_is_told_so(page: Page, node: Site) -> None:
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.find("#inbox-user").send_keys("42", Keys.ENTER)
    page.wait(lambda: page.text("#in-inbox") == "this key does not have the right 'read'")
    [said] = page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert "403" in said["message"]


def test_a_key_that_may_only_look_ends_nothing(
    page: Page, node: Site, listen: Callable[..., SSEClient]
) -> None:
    client = listen(node, "42")
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.look_for("42")
    page.find("#end").click()
    page.find("#confirm .danger").click()
    page.wait(lambda: "does not have the right 'revoke'" in page.text("#found"))
    assert client.end is None
    assert "403" in str(page.browser.get_log("browser"))  # type: ignore[no-untyped-call]


def test_the_key_is_kept_for_the_tab_until_one_signs_out(page: Page) -> None:
    """In no address and in no cookie."""
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.browser.refresh()
    page.wait_signed_in()
    assert ADMIN not in page.browser.current_url
    assert page.browser.get_cookies() == []
    assert page.browser.execute_script("return localStorage.length") == 0
    page.find("#sign-out").click()
    assert page.find("#sign-in").is_displayed()
    assert not page.find("#signed-in").is_displayed()
    page.browser.refresh()
    page.wait(lambda: page.find("#sign-in").is_displayed())
    assert page.browser.execute_script("return sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("key", "said"), [("wrong-0123456789", "this is not a publish key"), ("ü", "")]
)
def test_a_wrong_key_is_refused_with_the_reason(page: Page, key: str, said: str) -> None:
    page.sign_in(key)
    refused = page.wait(lambda: page.text("#refused"))
    assert said in refused
    assert page.browser.switch_to.active_element == page.find("#key")
    assert page.browser.execute_script("return sessionStorage.length") == 0
    page.browser.get_log("browser")  # type: ignore[no-untyped-call]


def test_a_node_that_stops_answering_is_told_and_what_was_known_stays(
    page: Page, node: Site
) -> None:
    page.sign_in(ADMIN)
    page.wait_signed_in()
    node.kill()
    page.wait(lambda: page.text("#problem").startswith("No answer: "))
    assert len(page.rows("nodes")) == 1
    node.start()
    page.wait(lambda: not page.find("#problem").is_displayed())
    page.browser.get_log("browser")  # type: ignore[no-untyped-call]


def test_slow_readers_and_refusals_are_shown(
    page: Page, nodes: tuple[Site, Site], listen: Callable[..., SSEClient]
) -> None:
    one, other = nodes
    listen(other, "42", receive_buffer=4096).stall()
    page.sign_in("wrong-0123456789")
    page.wait(lambda: page.text("#refused"))
    page.browser.get_log("browser")  # type: ignore[no-untyped-call]
    page.sign_in(ADMIN)
    page.wait_signed_in()
    assert ["invalid_token", "1"] in page.rows("refusals")

    def slow() -> list[list[str]]:
        one.ephemeral("x" * 50_000)
        return page.rows("slow")

    [[user, node, _, _]] = page.wait(slow)
    assert user == "42"
    assert node.endswith(f"/{other.server.pid}")


def test_a_page_of_another_origin_can_do_nothing_even_with_the_key(
    page: Page, node: Site, elsewhere: Elsewhere, listen: Callable[..., SSEClient]
) -> None:
    """Be it one that may open streams here."""
    client = listen(node, "42")
    page.browser.get(elsewhere.url)
    for method, path, outcome in (
        ("GET", "healthz", 200),
        ("GET", "admin/nodes", "blocked"),
        ("GET", "admin/streams?user_id=42", "blocked"),
        ("DELETE", "admin/streams?user_id=42", "blocked"),
    ):
        said = page.browser.execute_async_script(
            "const [url, method, key, done] = arguments;"
            "fetch(url, {method, headers: {Authorization: `Bearer ${key}`}})"
            ".then((answer) => done(answer.status), () => done('blocked'))",
            f"{node.url}/{path}",
            method,
            KEY,
        )
        assert said == outcome
    assert client.end is None
    page.browser.get_log("browser")  # type: ignore[no-untyped-call]


def test_what_users_are_called_is_text_and_never_markup(
    page: Page, node: Site, listen: Callable[..., SSEClient]
) -> None:
    name = "<img src=x onerror=alert(1)>/?&=#"
    node.main_host.answers["token-x"] = {"user_id": name}
    listen(node, "x")
    page.sign_in(ADMIN)
    page.wait_signed_in()
    page.list_users("<")
    assert page.text("#users") == name
    assert page.look_for(name) == f"{name} has 1 open stream"
    page.find("#end").click()
    assert name in page.text("#confirm-title")
    assert page.browser.find_elements(By.CSS_SELECTOR, "main img, dialog img") == []


def test_the_page_can_be_used_with_the_keyboard_alone(
    page: Page, node: Site, listen: Callable[..., SSEClient]
) -> None:
    listen(node, "42")
    page.wait(lambda: page.browser.switch_to.active_element == page.find("#key"))
    page.browser.switch_to.active_element.send_keys(KEY, Keys.ENTER)
    page.wait_signed_in()
    page.find("#user").send_keys("42", Keys.ENTER)
    page.wait(lambda: page.find("#end").is_displayed())
    page.find("#user").send_keys(Keys.TAB, Keys.TAB)
    assert page.browser.switch_to.active_element == page.find("#end")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    cancel = page.browser.switch_to.active_element  # what ends nothing has the focus
    assert cancel.text == "Cancel"
    cancel.send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.find("#confirm").is_displayed())
    assert page.browser.switch_to.active_element == page.find("#end")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: "1 node was told" in page.text("#found"))
    assert page.browser.switch_to.active_element == page.find("#user")


def test_the_page_says_what_is_what_to_those_who_do_not_see_it(page: Page) -> None:
    """At the width of a phone, too, where a table does not look like one."""
    assert page.find("#key").accessible_name == "A publish key that has the right admin"
    assert page.find("#refused").aria_role == "alert"
    page.sign_in(ADMIN)
    page.wait_signed_in()
    assert page.find("#user").accessible_name == "User id"
    assert page.find("#found").aria_role == "status"
    assert page.find("#prefix").accessible_name == "Beginning of the user id"
    assert page.find("#listed").aria_role == "status"
    for width in (1280, 390):
        _be(page.browser, width)
        roles = [page.find(f"#signed-in {tag}").aria_role for tag in ("table", "tr", "th", "td")]
        assert roles == ["table", "row", "columnheader", "cell"]
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_asks_nobody_but_its_server(page: Page, node: Site) -> None:
    page.sign_in(ADMIN)
    page.wait_signed_in()
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(names) >= 4
    assert [name for name in names if not name.startswith(f"{node.url}/admin/")] == []


def test_the_page_fits_light_dark_and_a_phone(
    page: Page, nodes: tuple[Site, Site], listen: Callable[..., SSEClient], tmp_path: Path
) -> None:
    """Screenshots for a person are in the test's directory; what a machine sees is checked."""
    browser = page.browser
    for site in nodes:
        listen(site, "42")
    name = "someone.with.a.long.name@department.example.com"
    nodes[1].main_host.answers["token-long"] = {"user_id": name}
    listen(nodes[1], "long", receive_buffer=4096).stall()
    for number in range(9):
        listen(nodes[0], f"customer{number}")
    page.browser.execute_script("document.getElementById('list')?.setAttribute('data-limit', 8)")
    backgrounds = set()
    for step in ("sign-in", "signed-in"):
        if step == "signed-in":
            page.sign_in(KEY)
            page.wait_signed_in()
            page.list_users("")
            page.look_for("42")
            nodes[0].publish(3, event="order.shipped", text="Your order is on its way. " * 5)
            page.find("#inbox-user").send_keys("42", Keys.ENTER)
            page.wait(lambda: page.rows("inbox"))
            while not page.rows("slow"):
                nodes[0].ephemeral("x" * 50_000, name)
        for width in (1280, 390):
            _be(browser, width)
            for scheme in ("light", "dark"):
                features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
                color = page.find("body").value_of_css_property("background-color")
                backgrounds.add((scheme, color))
                assert browser.save_screenshot(str(tmp_path / f"{step}-{width}-{scheme}.png"))
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(backgrounds) == 2


def _be(browser: Chrome, width: int) -> None:
    size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
