"""The shop's page, in a real browser."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from redis import Redis
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.page import USERS, Item, Page
from tests.harness import free_port
from tests.harness.demo import FREE_PORTS, Demo

# Whatever is pressed, filled in or followed, and is smaller than 44 pixels.
SMALL = """
    return [...document.querySelectorAll("a, button, input, summary")]
      .filter((element) => element.checkVisibility())
      .map((element) => [element.outerHTML, element.getBoundingClientRect()])
      .filter(([, { width, height }]) => width < 44 || height < 44)
      .map(([html, { width, height }]) => `${width}x${height} ${html}`);
"""
# Whatever scrolls, or could, within the page.
SCROLLING = """
    const root = document.documentElement;
    return [...document.querySelectorAll("body *")]
      .filter((element) => element.checkVisibility() && !element.matches(".unseen, input"))
      .filter((element) => /auto|scroll/.test(getComputedStyle(element).overflow))
      .map((element) => element.outerHTML)
      .concat(root.scrollWidth > root.clientWidth ? [`${root.scrollWidth} px wide`] : []);
"""

# Lists are on their way until somebody lets them go.
SLOWLY = """
    const real = fetch;
    window.fetch = async (url, ...more) => {
      const answer = await real(url, ...more);
      if (!`${url}`.includes("/inbox?")) return answer;
      window.lists = (window.lists ?? 0) + 1;
      await new Promise((done) => addEventListener("go", done));
      return answer;
    };
"""
CUT = "document.querySelector('#of-alice .cut').click()"  # also behind a toast
VISIBLE = """
    const items = [...document.querySelectorAll("#of-bob .list li")];
    return items.filter((element) => element.checkVisibility()).length;
"""


@pytest.fixture
def page(browser: Chrome, demo: Demo) -> Iterator[Page]:
    """The page; it may have said nothing to the browser's console in the end."""
    browser.get_log("browser")  # type: ignore[no-untyped-call]
    yield Page(browser, demo)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
    browser.get("about:blank")  # which ends its streams


@pytest.fixture
def tried(browser: Chrome, demo: Demo) -> Iterator[Page]:
    """The page, in a test in which the console tells of connections that are lost."""
    yield Page(browser, demo)
    browser.get("about:blank")


def process(page: Page) -> int:
    """The server's, as the page says."""
    return int(page.wait(lambda: page.find("#server-state").text.partition("process ")[2]))


def test_an_order_is_confirmed_and_shipped_to_who_has_bought(page: Page) -> None:
    said = page.buy("alice", "Desk lamp")
    number = said.split()[1]
    assert said == f"Order {number} is placed. It ships soon."
    text = f"Desk lamp, order {number}"
    page.wait_texts("alice", text, text)
    assert [item.title for item in page.items("alice")] == ["Order confirmed", "Order on its way"]
    page.announce("the end")  # what had gone astray would be there before it
    page.wait_texts("bob", "the end")
    assert page.streams() == 2


def test_a_message_comes_to_the_other_one_and_an_announcement_to_both(page: Page) -> None:
    assert page.write("alice", "hello") == "Sent"
    page.wait_texts("bob", "hello")
    assert page.write("bob", "hello yourself") == "Sent"
    page.wait_texts("alice", "hello yourself")
    assert page.announce("Sale") == "Announced"
    page.wait_texts("alice", "hello yourself", "Sale")
    page.wait_texts("bob", "hello", "Sale")
    assert page.items("bob") == [
        Item("Message from alice", "hello", away=False, unread=True),
        Item("From the shop", "Sale", away=False, unread=True),
    ]


def test_the_bell_counts_what_is_unread_until_it_is_pressed(page: Page) -> None:
    assert page.unread("bob") == 0
    assert not page.find("#of-bob .count").is_displayed()
    page.announce("1")
    page.write("alice", "2")
    page.wait_unread("bob", 2)
    assert page.find("#of-bob .bell").accessible_name == "2 unread notifications of bob. Read them"
    page.wait(lambda: page.browser.title == "(3) A small shop")
    page.press("#of-bob .bell")
    assert page.unread("bob") == 0
    assert [item.unread for item in page.items("bob")] == [False, False]
    assert page.browser.title == "(1) A small shop"
    assert page.unread("alice") == 1


def test_a_toast_shows_what_has_come_and_goes(page: Page) -> None:
    page.announce("a toast")
    toast = page.wait(lambda: page.find('#toasts [data-user="bob"]').text)
    assert toast == "From the shop\na toast"
    page.wait(lambda: page.find("#toasts").text == "")


def test_the_list_and_what_is_read_survive_a_reload(page: Page) -> None:
    """Both come from the inbox; the browser keeps nothing."""
    page.announce("1")
    page.wait_texts("alice", "1")
    page.press("#of-alice .bell")
    page.write("bob", "2")
    page.wait_unread("alice", 1)
    before = page.items("alice")
    page.load()
    page.wait_texts("alice", "1", "2")
    assert page.items("alice") == before
    page.wait_unread("alice", 1)
    assert page.find("#toasts").text == ""

    assert page.run("return localStorage.length") == 0


def test_what_is_published_while_the_list_is_on_its_way_comes_once(page: Page) -> None:
    page.publish("alice", {"text": "before"})
    page.wait_unread("alice", 1)
    page.press("#of-alice .bell")
    script = page.browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": SLOWLY}
    )
    try:
        page.browser.get(page.demo.url)
        page.wait(lambda: page.run("return window.lists === 2"))
        page.publish("alice", {"text": "meanwhile"})
        page.run("dispatchEvent(new Event('go'))")
        page.wait_texts("alice", "before", "meanwhile")
        page.publish("alice", {"text": "after"})
        page.wait_texts("alice", "before", "meanwhile", "after")
        assert [item.unread for item in page.items("alice")] == [False, True, True]
    finally:
        page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def on_a_phone(page: Page, method: str, path: str, body: object = None) -> Any:
    """What another device of alice's is answered."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{page.demo.server_url}{path}", data, method=method)
    request.add_header("Authorization", "Bearer alice-token")
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_what_is_read_on_one_device_is_read_on_the_other(page: Page) -> None:
    page.write("bob", "1")
    page.write("bob", "2")
    page.wait_unread("alice", 2)
    listed = on_a_phone(page, "GET", "inbox")
    assert [event["read"] for event in listed["events"][:2]] == [False, False]
    mark = {"ids": [listed["events"][1]["event_id"]]}
    assert on_a_phone(page, "PUT", "inbox/read", mark) == {"unread": 1}
    page.wait_unread("alice", 1)
    assert [item.unread for item in page.items("alice")] == [False, True]
    page.press("#of-alice .bell")
    page.wait(lambda: on_a_phone(page, "GET", "inbox")["unread"] == 0)


def test_what_was_read_elsewhere_while_cut_off_is_read_when_it_is_connected_again(
    page: Page,
) -> None:
    """And what was read here meanwhile is, elsewhere."""
    page.write("bob", "1")
    page.wait_unread("alice", 1)
    page.run(CUT)
    page.wait_state("alice", "Cut off")
    page.write("bob", "2")
    listed = page.wait(lambda: has(on_a_phone(page, "GET", "inbox"), "2"))
    on_a_phone(page, "PUT", "inbox/read", {"upto": listed["cursor"]})
    assert page.unread("alice") == 1
    page.run(CUT)
    page.wait_texts("alice", "1", "2")
    page.wait_unread("alice", 0)
    page.write("bob", "3")
    page.wait_unread("alice", 1)
    page.run(CUT)
    page.wait_state("alice", "Cut off")
    page.run("document.querySelector('#of-alice .bell').click()")
    assert on_a_phone(page, "GET", "inbox")["unread"] == 1
    page.run(CUT)
    page.wait(lambda: on_a_phone(page, "GET", "inbox")["unread"] == 0)


def has(listed: Any, text: str) -> Any:
    """A list, if the newest event in it has this text."""
    return listed if listed["events"][0]["data"]["data"]["text"] == text else None


def test_what_is_published_twice_without_an_id_is_read_twice(page: Page) -> None:
    for _ in range(2):
        page.publish("alice", {"text": "same"})
    page.wait_texts("alice", "same", "same")
    page.press("#of-alice .bell")
    page.load()
    page.wait_texts("alice", "same", "same")
    assert [item.unread for item in page.items("alice")] == [False, False]
    page.publish("alice", {"text": "same"})
    page.wait_unread("alice", 1)


def test_what_is_missed_while_cut_off_comes_marked_and_once(page: Page) -> None:
    page.write("alice", "before")
    page.wait_texts("bob", "before")
    page.press("#of-bob .cut")
    page.wait_state("bob", "Cut off")
    assert page.write("bob", "no") == "Not done: this browser is cut off"
    assert page.buy("bob", "Teapot") == "Not done: this browser is cut off"
    page.write("alice", "missed 1")
    page.announce("missed 2")
    page.wait_texts("alice", "missed 2")
    assert [item.text for item in page.items("bob")] == ["before"]

    page.press("#of-bob .cut")
    page.wait_texts("bob", "before", "missed 1", "missed 2")
    assert [item.away for item in page.items("bob")] == [False, True, True]
    toast = '#toasts [data-user="bob"] .toast:last-child'
    page.wait(lambda: page.find(toast).text == "While you were away\n2 notifications")
    page.write("alice", "after")
    page.wait_texts("bob", "before", "missed 1", "missed 2", "after")
    assert not page.items("bob")[3].away
    page.load()  # and is not missed another time
    page.wait_texts("bob", "before", "missed 1", "missed 2", "after")
    page.wait_unread("bob", 4)


@pytest.mark.parametrize(("button", "number"), [("#restart", "SIGTERM"), ("#kill", "SIGKILL")])
def test_what_is_published_while_the_server_is_gone_comes_after_it(
    button: str, number: str, tried: Page
) -> None:
    """It is another process afterwards, and the one before has ended."""
    page = tried
    before = process(page)
    page.press(button)
    page.wait(lambda: not Path(f"/proc/{before}").exists())
    page.ask("announcements", {"text": "meanwhile"})  # at once, and not when hands are free
    assert page.buy("alice", "House plant").startswith("Order ")
    page.wait(lambda: process(page) != before)
    for user in USERS:
        page.wait_state(user, "Connected")
    page.wait(lambda: len(page.items("alice")) == 3)
    page.wait_texts("bob", "meanwhile")
    page.announce("the end")  # what came twice would be there before it
    page.wait(lambda: [item.text for item in page.items("bob")][-1] == "the end")
    assert [item.text for item in page.items("bob")] == ["meanwhile", "the end"]
    titles = [item.title for item in page.items("alice")]
    assert sorted(titles[:3]) == ["From the shop", "Order confirmed", "Order on its way"]
    assert page.items("bob")[0].away, f"it was published after {number}"


def test_ten_tabs_have_one_stream_and_read_for_each_other(page: Page) -> None:
    """For each of the two users; over HTTP/1.1 a browser opens six connections, and no more."""
    browser = page.browser
    first = browser.current_window_handle
    for _ in range(9):
        browser.switch_to.new_window("tab")
        page.load()
    page.wait(lambda: page.streams() == 2)
    page.announce("to all tabs")
    tabs = browser.window_handles
    for tab in tabs:
        browser.switch_to.window(tab)
        for user in USERS:
            page.wait_texts(user, "to all tabs")
    page.wait_unread("alice", 1)
    page.press("#of-alice .bell")
    for tab in tabs:
        browser.switch_to.window(tab)
        page.wait_unread("alice", 0)
        assert page.unread("bob") == 1
    assert page.streams() == 2
    for tab in tabs:
        if tab != first:
            browser.switch_to.window(tab)
            browser.close()
    browser.switch_to.window(first)


def test_an_event_that_is_not_kept_is_shown_until_a_reload(page: Page) -> None:
    event = {"recipient_id": "bob", "event": "message", "data": {"text": "live"}}
    with Redis(port=page.demo.redis_port) as redis:
        redis.publish("push_notifications", json.dumps(event))
    page.wait_texts("bob", "live")
    page.announce("kept")
    page.wait_texts("bob", "live", "kept")
    page.load()
    page.wait_texts("bob", "kept")


def test_what_the_inbox_could_not_keep_is_told(page: Page) -> None:
    """Of more than a hundred the page shows the last fifty."""
    page.press("#of-bob .cut")
    page.publish_many([{"recipient_id": "bob", "data": {"text": f"{n}"}} for n in range(130)])
    page.before = ""
    page.press("#of-bob .cut")
    page.wait_texts("bob", *(f"{n}" for n in range(80, 130)))
    page.wait_heard("bob", "Some notifications are gone: The inbox did not keep everything")
    assert page.run(VISIBLE) == 4
    assert page.find("#of-bob .more").text == "Show all 50"
    page.press("#of-bob .more")
    assert page.run(VISIBLE) == 50
    assert page.find("#of-bob .more").text == "Show fewer"


def test_another_run_of_the_demo_knows_nothing_of_this_one(browser: Chrome, tmp_path: Path) -> None:
    """Though it has the same address, and its events the same names and texts."""
    ports = ("--port", "0", "--main-host-port", str(free_port()), "--redis-port", "0")
    for run in ("1", "2"):
        (tmp_path / run).mkdir()
        with Demo(tmp_path / run, *ports) as demo:
            page = Page(browser, demo.wait_ready(), is_new=True)
            page.publish("alice", {"text": "hello"}, id="order-1001")
            page.wait_unread("alice", 1)
            page.press("#of-alice .bell")
            browser.get("about:blank")


def test_a_shop_that_hangs_or_is_gone_is_told(browser: Chrome, tmp_path: Path) -> None:
    """No button waits for ever."""
    with Demo(tmp_path, *FREE_PORTS) as demo:
        page = Page(browser, demo.wait_ready())
        page.run("window.real = AbortSignal.timeout")
        page.run("AbortSignal.timeout = () => real.call(AbortSignal, 300)")
        os.kill(demo.pid, signal.SIGSTOP)
        try:
            assert page.write("alice", "x") == "Not done: no answer for 20 seconds"
        finally:
            os.kill(demo.pid, signal.SIGCONT)
        page.run("AbortSignal.timeout = () => real.call(AbortSignal, 20_000)")
        demo.end(timeout=30)
        assert page.write("alice", "x") == "Not done: the shop cannot be reached"
        assert page.buy("alice", "Teapot") == "Not done: the shop cannot be reached"
        page.press("#kill")
        page.wait(lambda: page.find("#server-state").text == "Not done: the shop cannot be reached")
        browser.get("about:blank")


def test_what_the_shop_refuses_is_told(tried: Page) -> None:
    assert tried.write("alice", " ") == "Not done: write something first"
    tried.run("document.querySelector('#announcement').removeAttribute('maxlength')")
    tried.run("document.querySelector('#announcement').value = 'x'.repeat(600)")
    tried.press("#announce button")
    said = tried.said("#announce .result")
    assert said == "Not done: that is 600 characters, and 500 fit"


def test_a_user_alone_in_a_tab_has_one_stream(browser: Chrome, demo: Demo) -> None:
    page = Page(browser, demo, ("bob",))
    assert page.browser.find_elements(By.CSS_SELECTOR, "#of-alice") == []
    page.write("bob", "hello")
    page.wait(lambda: page.streams() == 1)
    page.announce("to whom is here")
    page.wait_texts("bob", "to whom is here")
    browser.get("about:blank")


HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def test_what_others_publish_is_text_and_never_markup(page: Page) -> None:
    """Whatever members an event has, and whatever they are."""
    events: list[tuple[object, dict[str, object]]] = [
        ({"text": HOSTILE}, {"event": HOSTILE, "id": HOSTILE}),
        ({"text": "t", "from": HOSTILE}, {"event": "message"}),
        ({"text": "t", "from": {"a": 1}}, {"event": "message", "sent_at": "now"}),
        ([1, {"<b>": None}], {"event": "__proto__", "sent_at": 1e300}),
        (None, {"event": "*", "sent_at": -1}),
        ("</script>", {"event": "constructor", "id": "__proto__"}),
        ({"text": 7}, {"event": "order.shipped", "sent_at": 8640000000000001}),
        ({"text": "x" * 50_000}, {"event": "\u202edrow", "sent_at": 2**53}),
    ]
    for data, members in events:
        page.publish("alice", data, **members)
    long = "x" * 300 + "…"
    texts = [HOSTILE, "t", "t", '[1,{"<b>":null}]', None, "</script>", '{"text":7}', long]
    last = json.dumps({"recipient_id": "alice", "data": None, "event": "*", "sent_at": -1})
    shown = [last if text is None else text for text in texts]
    page.wait(lambda: len(page.items("alice")) == len(events))
    found = page.items("alice")
    assert [item.text for item in found] == [shown[0], *shown[1:4], found[4].text, *shown[5:]]
    assert json.loads(found[4].text) == json.loads(last)
    assert [item.title for item in found] == [
        HOSTILE,
        f"Message from {HOSTILE}",
        "Message",
        "__proto__",
        "*",
        "constructor",
        "Order on its way",
        "\u202edrow",
    ]
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    foreign = ".list :is(img, b, script), .frames :is(img, b, script), .toast :is(img, b, script)"
    assert page.browser.find_elements(By.CSS_SELECTOR, f"{foreign}, .heard img") == []
    page.load()
    page.wait(lambda: len(page.items("alice")) == len(events))
    assert [item.text for item in page.items("alice")] == [item.text for item in found]
    page.press("#of-alice .bell")
    page.load()
    page.wait(lambda: len(page.items("alice")) == len(events))
    assert [item.unread for item in page.items("alice")] == [False] * len(events)


def active(page: Page) -> WebElement:
    return page.browser.switch_to.active_element


def test_the_page_can_be_used_with_the_keyboard_alone(page: Page) -> None:
    """From the first link on, with Tab and Enter; what is missed is read with the bell."""

    def go_to(name: str) -> WebElement:
        for _ in range(60):
            active(page).send_keys(Keys.TAB)
            if active(page).accessible_name == name:
                return active(page)
        raise AssertionError(f"Tab does not lead to {name}")

    page.run("document.activeElement.blur()")
    page.find("body").send_keys(Keys.TAB)
    go_to("Buy Teapot").send_keys(Keys.ENTER)
    page.wait(lambda: [item.title for item in page.items("alice")][:1] == ["Order confirmed"])
    go_to("Message to bob").send_keys(Keys.CONTROL, "a", Keys.NULL, "typed", Keys.ENTER)
    page.wait_texts("bob", "typed")
    go_to("Cut this browser off").send_keys(Keys.ENTER)
    page.wait_state("alice", "Cut off")
    active(page).send_keys(Keys.ENTER)
    page.wait_state("alice", "Connected")
    go_to("1 unread notifications of bob. Read them").send_keys(Keys.ENTER)
    page.wait_unread("bob", 0)
    assert active(page).text == "Notifications"
    go_to("Announce to everyone").send_keys(Keys.CONTROL, "a", Keys.NULL, "by hand", Keys.ENTER)
    page.wait_texts("bob", "typed", "by hand")


def test_what_arrives_is_announced_to_those_who_do_not_see_it(page: Page) -> None:
    for user in USERS:
        log = page.find(f"#of-{user} .heard")
        assert log.aria_role == "log"
        assert log.accessible_name == f"Notifications of {user}"
        assert log.get_attribute("aria-live") == "polite"
        assert page.find(f"#of-{user}").accessible_name == f"Browser of {user}"
        assert page.find(f"#of-{user} .bar .state").aria_role == "status"
    last = "#of-bob .heard :last-child"
    page.write("alice", "hello")
    page.wait(lambda: page.text(last) == "Message from alice: hello")
    page.press("#of-bob .cut")
    page.announce("1")
    page.announce("2")
    page.press("#of-bob .cut")
    page.wait(lambda: page.text(last) == "While you were away: 2 notifications")
    for selector in ("#announce .result", "#server-state", "#of-bob .bought"):
        assert page.find(selector).aria_role == "status"


def test_internals_are_behind_details(page: Page) -> None:
    assert not page.find("#of-alice .cursor").is_displayed()
    page.publish("alice", {"text": "seen"}, event="message")
    page.wait_texts("alice", "seen")
    page.press("#of-alice details summary")
    assert page.find("#of-alice .cursor").text.startswith("2.")
    frame = page.find("#of-alice .frames pre").text.split("\n")
    assert frame[0] == "event: message"
    assert json.loads(frame[1].removeprefix("data: "))["data"] == {"text": "seen"}
    assert frame[2] == f"id: {page.find('#of-alice .cursor').text}"


def test_a_line_for_the_terminal_is_copied(page: Page) -> None:
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.press(".terminal summary")
    page.press("#commands button")
    page.wait(lambda: page.find("#commands button").text == "Copied")
    url = f"{page.demo.server_url}notify"
    assert page.run("return copied") == f"curl -N -H 'Authorization: Bearer alice-token' {url}"


def test_the_page_asks_nobody_but_its_two_servers(page: Page, demo: Demo) -> None:
    names = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert len(names) >= 4
    assert [name for name in names if not name.startswith((demo.url, demo.server_url))] == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (820, 1100), (390, 844), (320, 600)])
def test_page_fits_any_screen_in_light_and_dark(page: Page, width: int, height: int) -> None:
    """Nothing scrolls but the page, what is pressed is large enough, the first event in sight."""
    browser = page.browser
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.load()
        page.announce("Free delivery")
        page.wait_texts("alice", "Free delivery")
        page.run("scrollTo(0, 0)")
        bottom = "return document.querySelector('.list li').getBoundingClientRect().bottom"
        assert page.run(bottom) <= height
        page.run("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.run(SMALL) == []
        assert page.run(SCROLLING) == []
        backgrounds = set()
        for scheme in ("light", "dark"):
            features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
            backgrounds.add(page.find("body").value_of_css_property("background-color"))
        assert len(backgrounds) == 2
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
