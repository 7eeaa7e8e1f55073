"""The demo page, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.page import Page
from tests.harness.demo import Demo


@pytest.fixture
def page(browser: Chrome, demo: Demo) -> Iterator[Page]:
    """The page; it may have said nothing to the browser's console in the end."""
    yield Page(browser, demo.url)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    browser.get("about:blank")  # which ends its streams


def request(demo: Demo, method: str, path: str, body: object = None) -> None:
    headers = {"Authorization": f"Bearer {demo.key}"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(demo.url + path, data, headers, method=method), timeout=10) as answer:
        assert answer.status == 202


def test_both_streams_connect_and_say_where_they_are(page: Page) -> None:
    assert page.cursor("alice").startswith("2.")
    assert page.cursor("bob").startswith("2.")
    assert page.texts("alice") == page.texts("bob") == []


@pytest.mark.parametrize("how", ["durable", "ephemeral"])
def test_an_event_for_alice_appears_at_alice_only(page: Page, how: str) -> None:
    page.send("alice", "for her", how)
    page.wait_texts("alice", "for her")
    page.send("everyone", "the end", how)  # what had gone astray would be there before it
    page.wait_texts("bob", "the end")
    page.wait_texts("alice", "for her", "the end")


@pytest.mark.parametrize("how", ["durable", "ephemeral"])
@pytest.mark.parametrize("to", ["both", "everyone"])
def test_an_event_for_both_or_everyone_appears_at_both(page: Page, to: str, how: str) -> None:
    page.send(to, "hello", how)
    for user in ("alice", "bob"):
        page.wait_texts(user, "hello")
        [[type, _, meta]] = page.events(user)
        assert type == "order.shipped"
        assert f" · {how} · after " in meta


def test_the_page_tells_who_is_there(page: Page) -> None:
    assert page.send("both", "1") == "Stored; alice is connected, bob is connected"
    assert page.send("everyone", "2") == "Stored for everyone"
    assert page.send("bob", "3", "ephemeral") == "Published to whoever is connected"
    page.press("bob", "cut")
    page.wait(lambda: page.send("bob", "4") == "Stored; bob is away")


def test_an_event_missed_during_a_cut_comes_after_it(page: Page) -> None:
    """Durable events do, once and in order; an ephemeral one does not."""
    page.send("bob", "before")
    page.wait_texts("bob", "before")
    page.press("bob", "cut")
    page.wait_state("bob", "Cut")
    cursor = page.cursor("bob")
    page.send("bob", "lost", "ephemeral")
    page.send("bob", "missed 1")
    page.send("everyone", "missed 2", type="comment.added")
    page.wait_texts("alice", "missed 2")
    assert page.texts("bob") == ["before"]
    assert page.cursor("bob") == cursor

    page.press("bob", "reconnect")
    page.wait_texts("bob", "before", "missed 1", "missed 2")
    assert [lines[1] for lines in page.events("bob")[:2]] == ["missed while away"] * 2
    assert "missed while away" not in page.events("bob")[2]
    page.send("bob", "after", "ephemeral")
    page.wait_texts("bob", "before", "missed 1", "missed 2", "after")


def test_a_stream_that_the_server_ends_comes_back_by_itself(page: Page, demo: Demo) -> None:
    """With a new ticket, for the old one is used up, and after the last event it had."""
    page.send("alice", "before")
    page.wait_texts("alice", "before")
    request(demo, "DELETE", "streams/alice")
    page.wait_texts("alice", "before", "revoked")
    request(demo, "POST", "publish", {"recipient_id": "alice", "data": {"text": "missed"}})
    page.wait_state("alice", "Connected")
    page.wait_texts("alice", "before", "revoked", "missed")


def test_in_the_fourth_tab_it_works_as_in_the_first(page: Page, demo: Demo) -> None:
    """Each shows two users, and a browser opens six connections to a host over HTTP/1.1."""
    browser = page.browser
    first = browser.current_window_handle
    for _ in range(3):
        browser.switch_to.new_window("tab")
        other = Page(browser, demo.url)
        other.send("both", "hello")
    others = [handle for handle in browser.window_handles if handle != first]
    for handle, texts in zip(
        [*others[::-1], first], ([1], [1, 2], [1, 2, 3], [1, 2, 3]), strict=True
    ):
        browser.switch_to.window(handle)
        for user in ("alice", "bob"):
            page.wait_texts(user, *("hello" for _ in texts))
        if handle != first:
            browser.close()
    browser.switch_to.window(first)


def test_a_token_that_is_not_known_is_not_tried_again(browser: Chrome, demo: Demo) -> None:
    browser.get(demo.url)
    detail = browser.execute_async_script(
        """
        const [done] = arguments;
        import("/notify/client.js").then(({ Notifications }) => {
          const refused = new Notifications("/notify", { token: "carol-token" });
          refused.addEventListener("error", ({ detail }) =>
            done([detail.status, detail.final, refused.readyState]));
        });
        """
    )
    assert detail == [401, True, 2]
    assert "401" in browser.get_log("browser")[0]["message"]  # type: ignore[no-untyped-call]


def test_a_type_of_ones_own_is_heard(page: Page) -> None:
    page.send("alice", "hello", type="some.new.type")
    page.wait_texts("alice", "hello")
    assert page.events("alice")[0][0] == "some.new.type"
    page.send("alice", "without one", type="")
    page.wait_texts("alice", "hello", "without one")
    assert page.events("alice")[0][0] == "message"


def test_an_event_of_others_is_text_and_never_markup(page: Page, demo: Demo) -> None:
    text = "<img src=x onerror=alert(1)>"
    event = {"recipient_id": "alice", "event": "order.shipped", "data": {"text": text}}
    request(demo, "POST", "publish", event)
    page.wait_texts("alice", text)
    request(demo, "POST", "publish", event | {"data": [1, {"<b>": None}]})
    page.wait_texts("alice", text, '[1,{"<b>":null}]')
    assert page.panel("alice").find_elements(By.CSS_SELECTOR, ".events :is(img, b)") == []


def test_a_refused_event_is_told_with_the_reason(browser: Chrome, demo: Demo) -> None:
    page = Page(browser, demo.url)
    said = page.send("alice", "no", type="error")
    assert said.startswith('Not published: event must not be "error"')
    assert "400" in browser.get_log("browser")[0]["message"]  # type: ignore[no-untyped-call]


def test_page_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    page.find('[value="alice"]').send_keys(Keys.ARROW_RIGHT)
    page.find('[name="text"]').send_keys(Keys.CONTROL, "a", Keys.NULL, "typed", Keys.ENTER)
    page.wait_texts("bob", "typed")
    page.panel("bob").find_element(By.CLASS_NAME, "cut").send_keys(Keys.ENTER)
    page.wait_state("bob", "Cut")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)  # now on "Reconnect"
    page.wait_state("bob", "Connected")


def test_events_are_announced_to_those_who_do_not_see_them(page: Page) -> None:
    for user in ("alice", "bob"):
        log = page.panel(user).find_element(By.TAG_NAME, "ol")
        assert log.aria_role == "log"
        assert log.accessible_name == f"Notifications of {user}"
        assert log.get_attribute("aria-live") == "polite"
    assert page.find("#result").aria_role == "status"


def test_the_page_asks_nobody_but_its_server(page: Page, demo: Demo) -> None:
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert len(names) >= 4
    assert [name for name in names if not name.startswith(demo.url)] == []


def test_page_fits_light_dark_and_a_phone(page: Page, tmp_path: Path) -> None:
    """Screenshots for a person are in the test's directory; what a machine sees is checked."""
    page.send("both", "Your order is on its way")
    page.wait_texts("bob", "Your order is on its way")
    browser = page.browser
    backgrounds = set()
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        backgrounds.add(page.find("body").value_of_css_property("background-color"))
        assert browser.save_screenshot(str(tmp_path / f"{scheme}.png"))
    assert len(backgrounds) == 2
    phone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert browser.save_screenshot(str(tmp_path / "phone.png"))
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 360
